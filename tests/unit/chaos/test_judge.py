"""The judge of the kill matrix, on made-up histories: what it calls lost, repeated, explained and late."""

from __future__ import annotations

from chaos import schedule
from chaos.judge import RETRIED_TWICE, SECOND, SENT_TWICE, Judge, Rules, Strike, Verdict
from chaos.ledger import ATTEMPT, CONFIRMED, DELIVERED, FINISH, OK, REFUSED, RESULT, RETRY, START, Entry

#: Pids of children.
A, B = 101, 102


def at(seconds: float) -> int:
    return round((1000 + seconds) * SECOND)


def event(seconds: float, name: str, by: str = "p1-1", pid: int = 1, attempt: int = 0, detail: str = "") -> Entry:
    return Entry(at(seconds), name, "p1-1.0", attempt, pid, by, detail)


SENT = [event(0, ATTEMPT, detail="noop"), event(0.1, CONFIRMED)]
GOT = [event(90, RESULT, "r1-1", detail=OK)]


def run(start: float, end: float | None, by: str, pid: int, attempt: int = 0, how: str = FINISH) -> list[Entry]:
    """One run of the task, which may have no end."""
    began = event(start, START, by, pid, attempt)
    return [began] if end is None else [began, event(end, how, by, pid, attempt, how)]


def strike(kind: str, target: str, begin: float, seconds: float = 0.0, pid: int | None = None) -> Strike:
    return Strike(kind, target, at(begin), at(begin + seconds), () if pid is None else (pid,))


def judged(*entries: Entry, strikes: tuple[Strike, ...] = (), rules: Rules | None = None, got: bool = True) -> Verdict:
    return Judge(strikes, rules or Rules()).judge([*SENT, *entries, *(GOT if got else ())])


def only_cause(verdict: Verdict) -> str:
    (repeat,) = verdict.repeats
    return repeat.cause


# --- endings


def test_a_task_that_ran_once_is_nothing_to_report() -> None:
    verdict = judged(*run(1, 2, "w1-1", A))
    assert verdict.failures() == {}
    assert (verdict.attempted, verdict.confirmed, verdict.finished, verdict.runs) == (1, 1, 1, 1)
    assert verdict.waits == [0.9]


def test_confirmed_and_never_run_is_lost() -> None:
    assert judged(got=False).lost == ["p1-1.0"]


def test_started_and_never_finished_is_lost_even_if_nobody_confirmed_it() -> None:
    verdict = Judge([], Rules()).judge([SENT[0], *run(1, None, "w1-1", A)])
    assert verdict.lost == ["p1-1.0"]
    assert (verdict.unconfirmed, verdict.unconfirmed_ran) == (1, 1)


def test_a_refused_publish_that_never_ran_is_not_lost() -> None:
    verdict = Judge([], Rules()).judge([SENT[0], event(0.2, REFUSED, detail="OperationalError")])
    assert verdict.failures() == {}
    assert (verdict.unconfirmed, verdict.unconfirmed_ran) == (1, 0)


def test_a_retry_is_not_an_end() -> None:
    first = run(1, 2, "w1-1", A, how=RETRY)
    assert judged(*first, got=False).lost == ["p1-1.0"]
    assert judged(*first, *run(3, 4, "w2-1", B, attempt=1)).failures() == {}


def test_a_result_must_come_and_be_the_right_one() -> None:
    assert judged(*run(1, 2, "w1-1", A), got=False).no_result == ["p1-1.0"]
    wrong = event(3, RESULT, "r1-1", detail="belongs-to-p1-1.7")
    assert judged(*run(1, 2, "w1-1", A), wrong, got=False).wrong_result == ["p1-1.0"]


def test_a_task_nobody_published_is_reported() -> None:
    assert Judge([], Rules()).judge(run(1, 2, "w1-1", A)).unknown == ["p1-1.0"]


def test_what_is_acknowledged_before_it_runs_may_be_lost_and_is_counted_apart() -> None:
    entries = [event(0, ATTEMPT, detail="early"), event(0.1, CONFIRMED), *run(1, None, "c1-1", A)]
    verdict = Judge([], Rules()).judge(entries)
    assert verdict.failures() == {}
    assert (verdict.early, verdict.early_lost) == (1, 1)


def test_what_a_forgetful_server_confirmed_as_it_was_killed_is_counted_apart() -> None:
    killed = strike(schedule.KILL_SERVER, schedule.SERVER, 1)
    assert judged(strikes=(killed,), got=False).lost
    assert judged(strikes=(killed,), got=False, rules=Rules(forgetful=True)).forgotten == ["p1-1.0"]
    later = strike(schedule.KILL_SERVER, schedule.SERVER, 10)
    assert judged(strikes=(later,), got=False, rules=Rules(forgetful=True)).lost


def test_what_celery_popped_as_it_died_is_celerys_loss() -> None:
    popped = event(1, DELIVERED, "c1-1")
    dead = strike(schedule.KILL_MAIN, "c1-1", 1.01)
    assert judged(popped, strikes=(dead,), got=False).lost_by_celery == ["p1-1.0"]
    assert judged(popped, got=False).lost == ["p1-1.0"]


# --- repeats


TWICE = [*run(1, None, "w1-1", A), *run(12, 13, "w2-1", B)]


def test_a_repeat_without_a_fault_is_unexplained() -> None:
    verdict = judged(*TWICE)
    assert only_cause(verdict) == ""
    assert verdict.failures() == {"repeats unexplained": 1}


def test_the_death_of_the_holder_explains_a_repeat() -> None:
    verdict = judged(*TWICE, strikes=(strike(schedule.KILL_MAIN, "w1-1", 2),))
    assert verdict.failures() == {}
    assert only_cause(verdict) == schedule.KILL_MAIN
    assert verdict.repeats[0].back_after == 10


def test_the_death_of_its_child_explains_a_repeat_that_of_another_does_not() -> None:
    assert only_cause(judged(*TWICE, strikes=(strike(schedule.KILL_CHILD, "w1-1", 2, pid=A),))) == schedule.KILL_CHILD
    assert only_cause(judged(*TWICE, strikes=(strike(schedule.KILL_CHILD, "w1-1", 2, pid=B),))) == ""


def test_what_befell_another_process_or_an_earlier_one_explains_nothing() -> None:
    for target in ("w3-1", "w1-2"):
        assert only_cause(judged(*TWICE, strikes=(strike(schedule.KILL_MAIN, target, 2),))) == ""


def test_a_fault_before_the_first_run_or_after_the_second_explains_nothing() -> None:
    for begin in (-5, 20):
        assert only_cause(judged(*TWICE, strikes=(strike(schedule.KILL_MAIN, "w1-1", begin),))) == ""


def test_faults_that_take_no_message_away_explain_nothing() -> None:
    harmless = [
        strike(schedule.KILL_ZYGOTE, "w1-1", 2, pid=77),
        strike(schedule.STOP_CHILD, "w1-1", 2, 9, pid=A),
        strike(schedule.STOP_MAIN, "w1-1", 2, 3),
        strike(schedule.CUT, "w1", 2),
        strike(schedule.BLACKHOLE, "w1", 2, 1),
        strike(schedule.REFUSE, "w2", 2, 1),
        strike(schedule.KILL_SERVER, schedule.SERVER, 2, 1),
        strike(schedule.KILL_PRODUCER, "p1-1", 2),
        strike(schedule.KILL_WAITER, "r1-1", 2),
    ]
    for fault in harmless:
        assert only_cause(judged(*TWICE, strikes=(fault,))) == "", fault


def test_a_holder_that_was_silent_for_longer_than_its_lease_explains_a_repeat() -> None:
    for fault in (
        strike(schedule.STOP_MAIN, "w1-1", 2, 10),
        strike(schedule.BLACKHOLE, "w1", 2, 10),
        strike(schedule.REFUSE, "w1", 2, 4),
        strike(schedule.KILL_SERVER, schedule.SERVER, 2, 9),
    ):
        assert only_cause(judged(*TWICE, strikes=(fault,))) == fault.label, fault


def test_a_stopped_worker_that_runs_what_others_took_meanwhile_explains_it() -> None:
    stale = [*run(11, 12, "w2-1", B), *run(12.5, 13, "w1-1", A)]
    stopped = strike(schedule.STOP_MAIN, "w1-1", 1, 12)
    verdict = judged(*stale, strikes=(stopped,))
    assert only_cause(verdict) == "stop main, long"
    assert verdict.repeats[0].back_after is None


def test_a_death_long_after_the_end_does_not_bring_a_task_back() -> None:
    again = [*run(1, 2, "w1-1", A), *run(30, 31, "w2-1", B)]
    assert only_cause(judged(*again, strikes=(strike(schedule.KILL_MAIN, "w1-1", 20),))) == ""
    assert only_cause(judged(*again, strikes=(strike(schedule.KILL_MAIN, "w1-1", 2.5),))) == schedule.KILL_MAIN


def test_an_outcome_that_could_not_be_delivered_until_its_worker_died_is_repeated() -> None:
    again = [*run(1, 2, "w1-1", A), *run(30, 31, "w2-1", B)]
    faults = (strike(schedule.STOP_MAIN, "w1-1", 1.5, 3), strike(schedule.KILL_MAIN, "w1-1", 5))
    assert only_cause(judged(*again, strikes=faults)) == schedule.KILL_MAIN


def test_a_death_in_the_middle_of_a_silence_is_the_reason() -> None:
    faults = (strike(schedule.BLACKHOLE, "w1", 1.5, 6), strike(schedule.KILL_MAIN, "w1-1", 5))
    verdict = judged(*TWICE, strikes=faults)
    assert only_cause(verdict) == schedule.KILL_MAIN
    assert verdict.repeats[0].back_after == 7


def test_a_publish_that_the_network_broke_may_arrive_twice() -> None:
    again = [*run(1, 2, "w1-1", A), *run(3, 4, "w2-1", B)]
    assert only_cause(judged(*again, strikes=(strike(schedule.CUT, "p1", 0.05),))) == SENT_TWICE
    assert only_cause(judged(*again, strikes=(strike(schedule.CUT, "p2", 0.05),))) == ""
    assert only_cause(judged(*again, strikes=(strike(schedule.CUT, "p1", 30),))) == ""


def test_each_repeat_of_several_is_judged() -> None:
    thrice = [*run(1, None, "w1-1", A), *run(5, None, "w2-1", B), *run(30, 31, "w1-2", 103)]
    verdict = judged(*thrice, strikes=(strike(schedule.KILL_CHILD, "w1-1", 2, pid=A),))
    assert [repeat.cause for repeat in verdict.repeats] == [schedule.KILL_CHILD, ""]


# --- late


def test_back_after_more_than_the_bar_is_late() -> None:
    late = [*run(1, None, "w1-1", A), *run(18, 19, "w2-1", B)]
    verdict = judged(*late, strikes=(strike(schedule.KILL_MAIN, "w1-1", 2),))
    assert verdict.failures() == {"back too late": 1}


def test_an_outage_of_the_server_does_not_count() -> None:
    late = [*run(1, None, "w1-1", A), *run(18, 19, "w2-1", B)]
    faults = (strike(schedule.KILL_MAIN, "w1-1", 2), strike(schedule.KILL_SERVER, schedule.SERVER, 4, 3))
    assert judged(*late, strikes=faults).repeats[0].back_after == 11
    assert judged(*late, strikes=faults).failures() == {}


def test_a_second_holder_that_died_gives_as_long_again() -> None:
    late = [*run(1, None, "w1-1", A), *run(22, 23, "w3-1", B)]
    deaths = (strike(schedule.KILL_MAIN, "w1-1", 2), strike(schedule.KILL_MAIN, "w2-1", 12))
    assert judged(*late, strikes=deaths).failures() == {}
    assert judged(*late, strikes=deaths[:1]).failures() == {"back too late": 1}


def test_a_first_run_that_comes_too_late_is_reported() -> None:
    verdict = judged(*run(16, 17, "w1-1", A))
    assert verdict.failures() == {"waited too long": 1}
    assert judged(*run(14, 15, "w1-1", A)).failures() == {}


def test_waiting_counts_from_when_a_task_was_due() -> None:
    sent = [event(0, ATTEMPT, detail=f"delayed@{at(20)}"), SENT[1]]
    verdict = Judge([], Rules()).judge([*sent, *run(21, 22, "w1-1", A), *GOT])
    assert verdict.waits == [1.0]
    asked = event(2, RETRY, "w1-1", A, 0, f"retry@{at(30)}")
    verdict = judged(event(1, START, "w1-1", A), asked, *run(31, 32, "w1-1", A, attempt=1))
    assert verdict.waits == [0.9, 1.0]


# --- Celery


def test_we_must_not_take_what_a_dead_celery_worker_held_before_its_time() -> None:
    rules = Rules(visibility=40)
    dead = strike(schedule.KILL_MAIN, "c1-1", 2)
    for again, expected in ((30, {"taken from Celery too early": 1}), (45, {})):
        entries = [event(0.5, DELIVERED, "c1-1"), *run(1, None, "c1-1", A), *run(again, again + 1, "w1-1", B)]
        assert judged(*entries, strikes=(dead,), rules=rules).failures() == expected


def test_what_celery_itself_gives_back_is_ours_at_once() -> None:
    entries = [event(0.5, DELIVERED, "c1-1"), *run(1, None, "c1-1", A), *run(3, 4, "w1-1", B)]
    for fault in (strike(schedule.KILL_CHILD, "c1-1", 2, pid=A), strike(schedule.CUT, "c1", 2)):
        assert judged(*entries, strikes=(fault,), rules=Rules(visibility=40)).failures() == {}


def test_what_a_living_celery_worker_runs_must_not_run_here() -> None:
    entries = [event(0.5, DELIVERED, "c1-1"), *run(1, 5, "c1-1", A), *run(3, 4, "w1-1", B)]
    assert judged(*entries).failures() == {"repeats unexplained": 1, "taken from Celery too early": 1}


def test_a_retry_that_celery_sent_and_did_not_acknowledge_is_sent_again() -> None:
    asked = [
        event(0.5, DELIVERED, "c1-1"), *run(1, 1.1, "c1-1", A, how=RETRY), *run(42, 42.1, "w1-1", B, how=RETRY)
    ]  # fmt: skip
    again = [*run(30, 31, "w1-1", B, attempt=1), *run(43, 44, "w1-1", B, attempt=1)]
    ended = (strike(schedule.ENDED, "c1-1", 1.2),)
    verdict = judged(*asked, *again, strikes=ended, rules=Rules(visibility=40))
    assert [repeat.cause for repeat in verdict.repeats] == ["end by itself of Celery", RETRIED_TWICE]
    ours = [entry._replace(by="w2-1") for entry in asked[1:3]]
    verdict = judged(*ours, *asked[3:], *again, strikes=(strike(schedule.KILL_MAIN, "w2-1", 1.2),))
    assert [repeat.cause for repeat in verdict.repeats] == [schedule.KILL_MAIN, ""]


def test_what_celery_sent_twice_stays_double_to_the_end() -> None:
    first = [*run(1, 1.1, "c1-1", A, how=RETRY), *run(42, 42.1, "w1-1", B, how=RETRY)]
    second = [*run(2, 2.1, "w1-1", B, attempt=1, how=RETRY), *run(43, 43.1, "w2-1", A, attempt=1, how=RETRY)]
    third = [*run(3, 4, "w1-1", B, attempt=2), *run(44, 45, "w2-1", A, attempt=2)]
    ended = (strike(schedule.ENDED, "c1-1", 1.2),)
    verdict = judged(*first, *second, *third, strikes=ended, rules=Rules(visibility=40))
    assert [repeat.cause for repeat in verdict.repeats[1:]] == [RETRIED_TWICE, RETRIED_TWICE]
    verdict = judged(*first, *second[:2], *third, strikes=ended, rules=Rules(visibility=40))
    assert [repeat.cause for repeat in verdict.repeats] == ["end by itself of Celery", ""]


def test_what_the_servers_log_says_celery_popped_is_celerys_loss() -> None:
    verdict = judged(got=False)
    verdict.blame_celery({"p1-1.9"})
    assert verdict.lost == ["p1-1.0"]
    verdict.blame_celery({"p1-1.0"})
    assert (verdict.lost, verdict.lost_by_celery) == ([], ["p1-1.0"])


def test_a_result_that_celery_wrote_over_is_celerys_loss() -> None:
    retried = run(1, 2, "c1-1", A, how=RETRY), run(3, 4, "w1-1", B, attempt=1)
    assert judged(*retried[0], *retried[1], got=False).failures() == {}
    ours = [entry._replace(by="w2-1") for entry in retried[0]]
    assert judged(*ours, *retried[1], got=False).failures() == {"without result": 1}


def test_a_result_that_celery_could_not_store_is_celerys_failure() -> None:
    failed = event(3, RESULT, "r1-1", detail="ConnectionError")
    verdict = judged(*run(1, 2, "c1-1", A), failed, got=False)
    assert (verdict.failures(), verdict.spoilt_by_celery) == ({}, ["p1-1.0"])
    assert judged(*run(1, 2, "w1-1", A), failed, got=False).failures() == {"with a wrong result": 1}


# --- a file


def test_an_outcome_that_waits_for_the_file_is_repeated_when_its_worker_dies() -> None:
    again = [*run(1, 2, "w3-1", A), *run(20, 21, "w2-1", B)]
    dead = strike(schedule.KILL_MAIN, "w3-1", 8)
    held = (strike(schedule.STOP_MAIN, "w1-1", 1.5, 10), strike(schedule.FILE_HELD, schedule.SERVER, 1.5, 10))
    assert only_cause(judged(*again, strikes=(dead,))) == ""
    assert only_cause(judged(*again, strikes=(dead, *held))) == schedule.KILL_MAIN
