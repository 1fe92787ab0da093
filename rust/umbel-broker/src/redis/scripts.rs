//! The Lua scripts, each in its own file with its contract on top.

use super::wire::Script;

macro_rules! script {
    ($constant:ident, $name:literal $(, after $($before:literal),+)?) => {
        pub(crate) static $constant: Script = Script {
            name: $name,
            source: concat!($($(include_str!(concat!("scripts/", $before, ".lua")), "\n",)+)? include_str!(concat!("scripts/", $name, ".lua"))),
        };
    };
}

script!(FETCH, "fetch");
script!(SETTLE, "settle", after "final", "chords", "slots", "lines");
script!(GIVE_BACK, "give_back");
script!(HEARTBEAT, "heartbeat", after "slots", "lines");
script!(TAKE_OVER, "take_over");
script!(LEAVE, "leave", after "slots");
script!(RELEASE, "release");
script!(REPLAY, "replay");
script!(ONCE, "once");
script!(LINE, "line", after "slots", "lines");
script!(TURN, "turn");

/// Writes result records; for result stores.
pub static STORE: Script = Script {
    name: "store",
    source: concat!(include_str!("scripts/final.lua"), "\n", include_str!("scripts/store.lua")),
};

/// Reads the parts of a chord; for result stores.
pub static PARTS: Script = Script {
    name: "parts",
    source: concat!(include_str!("scripts/chords.lua"), "\n", include_str!("scripts/parts.lua")),
};

/// Counts a part of a chord; for result stores.
pub static COUNT: Script = Script {
    name: "count",
    source: concat!(include_str!("scripts/chords.lua"), "\n", include_str!("scripts/count.lua")),
};
