//! What ran when, as seen from outside, and the check that it never was too much at once.

use std::{collections::BTreeMap, time::Duration};

/// One piece of work: from when the client knew that it had it, to when it began to give it back. So
/// it lies within the time that the server counted it, and what overlaps here overlapped there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What it counts for, say a branch or a GPU model.
    pub group: String,
    /// How much.
    pub weight: u64,
    /// When it was asked for.
    pub enqueued: Duration,
    /// When it began.
    pub started: Duration,
    /// When it ended.
    pub ended: Duration,
}

/// The most that ran at once, by group.
#[must_use]
pub fn peaks(spans: &[Span]) -> BTreeMap<&str, u64> {
    let mut peaks = BTreeMap::new();
    for (group, changes) in changes(spans, |span| (span.started, span.ended)) {
        let mut running = 0;
        let peak: &mut u64 = peaks.entry(group).or_default();
        for (_, change) in changes {
            running += change;
            *peak = (*peak).max(u64::try_from(running).unwrap_or(0));
        }
    }
    peaks
}

/// How much there was at each of `points` moments, by group: `between` gives the time that counts.
#[must_use]
pub fn series(
    spans: &[Span],
    points: usize,
    between: impl Fn(&Span) -> (Duration, Duration),
) -> BTreeMap<&str, Vec<(f64, u64)>> {
    let end = spans.iter().map(|span| span.ended).max().unwrap_or_default();
    let mut all = BTreeMap::new();
    for (group, changes) in changes(spans, between) {
        let mut changes = changes.into_iter().peekable();
        let mut amount = 0;
        let series: &mut Vec<(f64, u64)> = all.entry(group).or_default();
        for point in 0..=points {
            let at = end.mul_f64(point as f64 / points.max(1) as f64);
            while let Some((_, change)) = changes.next_if(|(when, _)| *when <= at) {
                amount += change;
            }
            series.push((at.as_secs_f64(), u64::try_from(amount).unwrap_or(0)));
        }
    }
    all
}

/// Changes in time order; at one moment ends come before starts, for they are given back first.
fn changes(spans: &[Span], between: impl Fn(&Span) -> (Duration, Duration)) -> BTreeMap<&str, Vec<(Duration, i64)>> {
    let mut all: BTreeMap<&str, Vec<(Duration, i64)>> = BTreeMap::new();
    for span in spans {
        let (from, to) = between(span);
        let weight = i64::try_from(span.weight).unwrap_or(i64::MAX);
        all.entry(&span.group).or_default().extend([(from, weight), (to, -weight)]);
    }
    all.values_mut().for_each(|changes| changes.sort_unstable());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(group: &str, weight: u64, started: u64, ended: u64) -> Span {
        let ms = Duration::from_millis;
        Span { group: group.into(), weight, enqueued: ms(0), started: ms(started), ended: ms(ended) }
    }

    #[test]
    fn overlapping_work_adds_up_and_touching_work_does_not() {
        let spans = [span("a", 2, 0, 10), span("a", 3, 10, 20), span("a", 1, 15, 30), span("b", 8, 5, 6)];
        assert_eq!(peaks(&spans), BTreeMap::from([("a", 4), ("b", 8)]));
    }

    #[test]
    fn a_series_follows_what_runs() {
        let spans = [span("a", 2, 0, 10), span("a", 1, 5, 20)];
        let running = series(&spans, 4, |span| (span.started, span.ended));
        let amounts: Vec<u64> = running["a"].iter().map(|(_, amount)| *amount).collect();
        assert_eq!(amounts, [2, 3, 1, 1, 0]);
    }
}
