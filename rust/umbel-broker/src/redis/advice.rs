//! What a server's own report says against using it as a broker.

/// The oldest version that Umbel is made for.
const OLDEST: (u32, u32) = (6, 2);

/// Warnings that follow from the text of `INFO`.
pub(super) fn of(info: &str) -> Vec<String> {
    [eviction(info), version(info)].into_iter().flatten().collect()
}

fn eviction(info: &str) -> Option<String> {
    let policy = field(info, "maxmemory_policy").filter(|policy| *policy != "noeviction")?;
    let harm = if policy.starts_with("allkeys") {
        "it throws queues away, and with them tasks"
    } else {
        "it throws results away, and signs of life of workers, whose tasks then run twice"
    };
    Some(format!("Redis has maxmemory-policy {policy}: when memory runs out, {harm}; set it to noeviction"))
}

fn version(info: &str) -> Option<String> {
    let version = field(info, "redis_version")?;
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    let found = (numbers.next()?, numbers.next().unwrap_or(0));
    (found < OLDEST).then(|| {
        format!("Redis {version} is older than {}.{}, the oldest that Umbel knows: upgrade it", OLDEST.0, OLDEST.1)
    })
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_keeps_what_it_is_given_needs_no_advice() {
        assert!(of("# Server\r\nredis_version:7.0.15\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n").is_empty());
        assert!(of("").is_empty(), "who may not ask is not warned");
    }

    #[test]
    fn what_throws_tasks_away_is_named() {
        for (policy, word) in [("allkeys-lru", "queues"), ("volatile-ttl", "run twice")] {
            let advice = of(&format!("maxmemory_policy:{policy}\r\n"));
            assert!(advice[0].contains(policy) && advice[0].contains(word) && advice[0].contains("noeviction"));
        }
    }

    #[test]
    fn old_servers_are_told_apart() {
        for (version, old) in
            [("5.0.14", true), ("6.0.16", true), ("6.2.0", false), ("7.4", false), ("255.255.255", false)]
        {
            assert_eq!(!of(&format!("redis_version:{version}\n")).is_empty(), old, "{version}");
        }
    }
}
