//! The broker contract, a file a theme. `umbel_broker::broker` has the sentences these cases check.

mod bindings;
mod control;
mod crowd;
mod dead_letters;
mod delays;
mod doorbell;
mod leases;
mod lines;
mod locks;
mod publishing;
mod settling;
mod slots;

pub use bindings::*;
pub use control::*;
pub use crowd::*;
pub use dead_letters::*;
pub use delays::*;
pub use doorbell::*;
pub use leases::*;
pub use lines::*;
pub use locks::*;
pub use publishing::*;
pub use settling::*;
pub use slots::*;

use umbel_broker::Capability::{
    self, Atomic, Control, Delays, Exchanges, Fairness, Fanout, Front, Leases, Lines, Locks, Malformed, Peeking,
    Priorities, Revocations, Slots, Turns, Verbatim,
};

use super::BrokerFixture;

/// One case.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Panics if the broker does not do what it must.
    pub run: fn(&dyn BrokerFixture),
}

impl Case {
    /// All cases, in the order of their themes.
    pub fn all() -> Vec<Self> {
        crate::broker_conformance!(@list).to_vec()
    }

    /// What it takes.
    pub fn needs(&self) -> &'static [Capability] {
        needs(self.name)
    }
}

/// Cases about what not every broker can do.
const NEEDS: &[(&str, &[Capability])] = &[
    ("direct_compares_keys", &[Exchanges]),
    ("destination_is_kept", &[Exchanges]),
    ("topic_compares_words", &[Exchanges]),
    ("fanout_reaches_every_queue", &[Fanout]),
    ("binding_twice_is_harmless", &[Exchanges]),
    ("others_see_a_direct_binding", &[Exchanges]),
    ("turns_are_shared_and_apart", &[Turns]),
    ("far_turns_are_not_kept", &[Turns]),
    ("another_pause_begins_anew", &[Turns]),
    ("revocations_are_kept_until_their_end", &[Revocations]),
    ("the_later_end_of_a_revocation_counts", &[Revocations]),
    ("every_listener_hears_what_is_said", &[Control]),
    ("a_listener_hears_its_exchange_from_its_opening_on", &[Control]),
    ("answers_wait_in_an_open_box", &[Control]),
    ("an_answer_is_waited_for", &[Control]),
    ("answers_without_a_box_are_dropped", &[Control]),
    ("a_crowd_returns_messages_once", &[Leases]),
    ("malformed_bytes_make_the_round_trip", &[Malformed]),
    ("malformed_bytes_can_be_requeued", &[Malformed]),
    ("a_delayed_message_is_not_held", &[Delays]),
    ("heartbeats_move_due_messages", &[Delays]),
    ("peeking_shows_what_waits_and_takes_nothing", &[Peeking, Delays, Priorities]),
    ("a_silent_workers_messages_return", &[Leases]),
    ("a_late_settlement_is_lost", &[Leases, Atomic]),
    ("a_worker_thought_dead_goes_on", &[Leases]),
    ("close_gives_everything_back", &[Leases]),
    ("a_dropped_consumer_is_silent", &[Leases]),
    ("recover_returns_what_is_unknown", &[Leases]),
    ("recover_reports_lost_tags", &[Leases]),
    ("a_new_handle_recovers_the_old_ones_messages", &[Leases]),
    ("one_of_many_that_are_the_same_is_published", &[Locks]),
    ("a_released_lock_can_be_taken_again", &[Locks]),
    ("a_lock_runs_out", &[Locks]),
    ("a_lock_may_change_hands", &[Locks]),
    ("a_publish_that_is_repeated_happens_once", &[Locks]),
    ("an_unroutable_message_takes_no_lock", &[Locks]),
    ("every_field_survives", &[Verbatim]),
    ("priorities_are_served_from_zero", &[Priorities, Verbatim]),
    ("priority_comes_before_fairness", &[Priorities]),
    ("requeue_to_the_front_is_next", &[Front]),
    ("requeue_keeps_the_priority", &[Priorities]),
    ("queues_are_served_alike", &[Fairness]),
    ("no_more_enter_than_there_are_slots", &[Slots]),
    ("who_has_waited_longest_is_next", &[Slots]),
    ("waiting_keeps_the_priority", &[Slots]),
    ("asking_for_slots_twice_is_harmless", &[Slots]),
    ("who_holds_nothing_gets_no_slot", &[Slots]),
    ("slots_change_hands_within_a_call", &[Slots]),
    ("a_slot_outlives_an_early_ack", &[Slots]),
    ("several_slots_are_taken_together", &[Slots]),
    ("an_unused_chance_is_passed_on", &[Slots]),
    ("a_silent_workers_slots_are_given_up", &[Slots]),
    ("heartbeats_keep_slots", &[Slots]),
    ("closing_gives_up_slots", &[Slots]),
    ("recovering_keeps_slots", &[Slots]),
    ("heartbeats_fill_free_slots", &[Slots]),
    ("the_bell_rings_for_who_is_woken", &[Slots]),
    ("a_crowd_keeps_to_the_limit", &[Slots]),
    ("who_comes_later_is_not_quicker", &[Slots]),
    ("a_slot_is_kept_no_longer_than_its_message_lives", &[Slots]),
    ("lines_are_served_in_turn", &[Lines]),
    ("no_more_than_a_window_is_in_the_queue", &[Lines]),
    ("each_queue_has_its_own_lines", &[Lines]),
    ("follow_ups_stand_in_line", &[Lines]),
    ("places_are_given_up_by_whoever_took_them", &[Lines]),
    ("a_line_that_does_not_move_begins_anew", &[Lines]),
    ("a_lost_message_keeps_its_lock", &[Locks]),
    ("unroutable_sends_nothing", &[Exchanges, Atomic]),
    ("an_unroutable_follow_up_settles_nothing", &[Exchanges, Atomic]),
];

fn needs(case: &str) -> &'static [Capability] {
    NEEDS.iter().find(|(name, _)| *name == case).map_or(&[], |(_, needs)| needs)
}

/// Whether a case is about what this broker says it can do.
#[doc(hidden)]
pub fn applies(case: &str, fixture: &dyn BrokerFixture) -> bool {
    needs(case).iter().all(|capability| fixture.can(*capability))
}

/// One `#[test]` per case of the broker contract. The argument is a function that makes a
/// [`BrokerFixture`](crate::conformance::BrokerFixture).
#[macro_export]
macro_rules! broker_conformance {
    ($($make:tt)+) => {
        $crate::conformance_tests! {
            [$($make)+],
            broker,
            [
                direct_compares_keys,
                destination_is_kept,
                topic_compares_words,
                fanout_reaches_every_queue,
                binding_twice_is_harmless,
                others_see_a_direct_binding,
                the_anonymous_exchange_names_queues,
                turns_are_shared_and_apart,
                far_turns_are_not_kept,
                another_pause_begins_anew,
                revocations_are_kept_until_their_end,
                the_later_end_of_a_revocation_counts,
                every_listener_hears_what_is_said,
                a_listener_hears_its_exchange_from_its_opening_on,
                a_listener_gives_up_in_time,
                answers_wait_in_an_open_box,
                an_answer_is_waited_for,
                answers_without_a_box_are_dropped,
                a_crowd_loses_and_repeats_nothing,
                a_crowd_returns_messages_once,
                dead_letters_say_what_and_why,
                dead_letters_come_in_pages,
                one_dead_letter_by_id,
                replay_puts_letters_back,
                purge_forgets_letters,
                malformed_bytes_make_the_round_trip,
                malformed_bytes_can_be_requeued,
                delay_hides_a_message_until_due,
                a_delayed_message_is_not_held,
                a_delay_into_the_past_is_none,
                delayed_messages_come_in_due_order,
                heartbeats_move_due_messages,
                a_published_eta_is_kept,
                a_new_delayed_message_is_noticed,
                purging_spares_delayed_messages,
                peeking_shows_what_waits_and_takes_nothing,
                the_bell_rings_for_what_was_there,
                the_bell_rings_for_what_came_between,
                the_bell_rings_while_waiting,
                the_bell_rings_for_returned_messages,
                the_bell_gives_up_in_time,
                a_listener_can_be_woken,
                every_bell_rings,
                a_silent_workers_messages_return,
                a_late_settlement_is_lost,
                a_worker_thought_dead_goes_on,
                heartbeats_keep_messages,
                a_lapse_nobody_saw_costs_nothing,
                close_gives_everything_back,
                closing_keeps_nothing_back,
                closing_twice_is_fine,
                a_dropped_consumer_is_silent,
                recover_returns_what_is_unknown,
                recover_reports_lost_tags,
                recover_is_about_one_worker,
                a_new_handle_recovers_the_old_ones_messages,
                an_idle_heartbeat_returns_nothing,
                one_of_many_that_are_the_same_is_published,
                a_released_lock_can_be_taken_again,
                a_lock_runs_out,
                a_lock_may_change_hands,
                a_publish_that_is_repeated_happens_once,
                an_unroutable_message_takes_no_lock,
                a_lost_message_keeps_its_lock,
                every_field_survives,
                a_task_message_survives,
                a_bare_message_survives,
                binary_bodies_survive,
                big_bodies_survive,
                first_in_first_out,
                an_empty_batch_is_fine,
                a_batch_may_have_many_queues,
                priorities_are_served_from_zero,
                priority_comes_before_fairness,
                queues_are_served_alike,
                empty_queues_leave_room_for_others,
                unroutable_sends_nothing,
                other_queues_are_left_alone,
                urls_and_identity_name_the_store,
                ack_ends_a_message,
                tags_are_unique,
                requeue_to_the_front_is_next,
                requeue_to_the_back_is_last,
                requeue_keeps_the_priority,
                failed_deliveries_are_counted,
                failed_deliveries_may_come_with_the_message,
                settling_twice_is_harmless,
                a_tag_twice_in_one_call_counts_once,
                an_old_tag_settles_nothing,
                foreign_tags_are_lost,
                follow_ups_come_with_the_ack,
                an_unroutable_follow_up_settles_nothing,
                early_acked_work_still_publishes,
                results_need_permission,
                want_zero_fetches_nothing,
                a_thousand_at_once,
                length_and_purge_are_of_ready_messages,
                lines_are_served_in_turn,
                no_more_than_a_window_is_in_the_queue,
                each_queue_has_its_own_lines,
                follow_ups_stand_in_line,
                places_are_given_up_by_whoever_took_them,
                a_line_that_does_not_move_begins_anew,
                no_more_enter_than_there_are_slots,
                who_has_waited_longest_is_next,
                waiting_keeps_the_priority,
                asking_for_slots_twice_is_harmless,
                who_holds_nothing_gets_no_slot,
                slots_change_hands_within_a_call,
                a_slot_outlives_an_early_ack,
                several_slots_are_taken_together,
                an_unused_chance_is_passed_on,
                a_silent_workers_slots_are_given_up,
                heartbeats_keep_slots,
                closing_gives_up_slots,
                recovering_keeps_slots,
                heartbeats_fill_free_slots,
                the_bell_rings_for_who_is_woken,
                a_crowd_keeps_to_the_limit,
                who_comes_later_is_not_quicker,
                a_slot_is_kept_no_longer_than_its_message_lives,
            ]
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::conformance::{listed_cases, public_functions};

    #[test]
    fn what_cases_need_is_said_of_cases_there_are() {
        let cases: Vec<&str> = super::Case::all().iter().map(|case| case.name).collect();
        for (name, needs) in super::NEEDS {
            assert!(cases.contains(name) && !needs.is_empty(), "{name}");
        }
    }

    #[test]
    fn every_case_is_listed() {
        let sources = [
            include_str!("bindings.rs"),
            include_str!("control.rs"),
            include_str!("crowd.rs"),
            include_str!("dead_letters.rs"),
            include_str!("delays.rs"),
            include_str!("doorbell.rs"),
            include_str!("leases.rs"),
            include_str!("lines.rs"),
            include_str!("locks.rs"),
            include_str!("publishing.rs"),
            include_str!("settling.rs"),
            include_str!("slots.rs"),
        ];
        assert_eq!(listed_cases(include_str!("mod.rs")), public_functions(&sources));
    }
}
