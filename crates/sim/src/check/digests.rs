//! **Replicas are equal.** Two nodes that have applied the same log up to the same entry have states with the
//! same digest.

use std::collections::BTreeMap;

use super::{Violation, violation};
use crate::history::{Digest, History};

const NAME: &str = "equal digests";

/// Lists replicas that differ from another at the same entry.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut first: BTreeMap<(u32, u64), &Digest> = BTreeMap::new();
    let mut violations = Vec::new();
    for digest in &history.facts.digests {
        let known = first.entry((digest.group, digest.applied)).or_insert(digest);
        if known.digest != digest.digest {
            let what = format!(
                "group {}, entry {}: nodes {} and {} have different states",
                digest.group, digest.applied, known.node, digest.node
            );
            violations.push(violation(NAME, what, []));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::Script;

    fn script(digests: &[(u32, u64, &str)]) -> Script {
        let mut script = Script::new();
        let digest = |(node, applied, digest): &(u32, u64, &str)| Digest {
            node: *node,
            group: 1,
            applied: *applied,
            digest: (*digest).to_owned(),
        };
        script.history.facts.digests = digests.iter().map(digest).collect();
        script
    }

    #[test]
    fn equal_states_are_fine_and_so_are_others_at_other_entries() {
        assert_eq!(check(&script(&[(1, 7, "a"), (2, 7, "a"), (3, 6, "b")]).history), vec![]);
    }

    #[test]
    fn different_states_are_found() {
        assert!(script(&[(1, 7, "a"), (2, 7, "b")]).fails(check));
    }
}
