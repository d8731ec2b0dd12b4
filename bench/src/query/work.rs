//! The work that both do: the query in Willow's text and in SQL.

use std::fmt::Write as _;

use super::data::{BEGIN_MS, STEP_MS, TEAMS};

/// Different instances of each work, gone through in turn.
const CASES: u64 = 49;

/// How the answers of both are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The same ids in the same order.
    Ordered,
    /// Different ids among those that match, as many as asked for or as there are.
    Random,
    /// The same id after a cursor.
    Next,
    /// The same number.
    Count,
}

/// One instance of a work.
#[derive(Debug)]
pub(super) struct Case {
    /// Of Willow, without a page token.
    pub(super) query: String,
    pub(super) sql: String,
    /// The pages that come before the one measured.
    pub(super) skip: usize,
    /// All that match, where the answer is random: in SQL.
    pub(super) all: Option<String>,
    /// Where the cursor of a round robin stands.
    pub(super) cursor: u128,
}

#[derive(Debug)]
pub(super) struct Work {
    pub(super) name: String,
    pub(super) answer: Answer,
    /// Microseconds at the median.
    pub(super) goal_us: Option<f64>,
    /// Times as fast as PostgreSQL.
    pub(super) goal_ratio: Option<f64>,
    pub(super) cases: Vec<Case>,
}

impl Work {
    fn new(name: impl Into<String>, answer: Answer, case: impl Fn(u64) -> Case) -> Self {
        Self { name: name.into(), answer, goal_us: None, goal_ratio: None, cases: (0..CASES).map(case).collect() }
    }

    const fn within(mut self, goal_us: f64) -> Self {
        self.goal_us = Some(goal_us);
        self
    }

    const fn times_as_fast(mut self, goal_ratio: f64) -> Self {
        self.goal_ratio = Some(goal_ratio);
        self
    }
}

const CREATED: &str = "(kv->>'created')::bigint";

fn case(query: String, sql: String) -> Case {
    Case { query, sql, skip: 0, all: None, cursor: 0 }
}

/// Every row that is a query, over so many resources.
pub(super) fn all(count: u64) -> Vec<Work> {
    // Teams are not equally large: the least has a few full pages less.
    let late_page = ((count / TEAMS / 100) as usize).saturating_sub(4).min(999);
    let mut works = vec![ordered_by_another("equality (1%), order by another key, limit 100", 0)];
    if late_page > 0 {
        works.push(ordered_by_another(
            &format!("equality (1%), order by another key, limit 100, page {}", late_page + 1),
            late_page,
        ));
    }
    works.extend([
        ranges(),
        Work::new("order by alone, limit 100", Answer::Ordered, |_| {
            case(
                "order by created limit 100".into(),
                format!("SELECT id FROM resources ORDER BY {CREATED}, id LIMIT 100"),
            )
        })
        .within(20.0),
    ]);
    works.extend(random(count));
    works.extend([round_robin(), counted()]);
    works
}

fn team(round: u64) -> u64 {
    round * 2 % TEAMS
}

fn ordered_by_another(name: &str, skip: usize) -> Work {
    Work::new(name, Answer::Ordered, |round| {
        let team = team(round);
        Case {
            skip,
            ..case(
                format!("team = {team} order by created limit 100"),
                format!(
                    "SELECT id FROM resources WHERE kv @> '{{\"team\": {team}}}' {{after}} ORDER BY {CREATED}, id LIMIT 100"
                ),
            )
        }
    })
    .within(1_000.0)
    .times_as_fast(10.0)
}

fn ranges() -> Work {
    Work::new("two ranges and an or, order desc, limit 100", Answer::Ordered, |round| {
        let (cpu, team) = (8 + round % 4, 30 + round % 5);
        case(
            format!(
                "cpu >= {cpu} and team < {team} and (os = \"linux\" or branch prefix \"feature-1\") \
                 order by created desc limit 100"
            ),
            format!(
                "SELECT id FROM resources WHERE (kv->>'cpu')::int >= {cpu} AND (kv->>'team')::int < {team} \
                 AND (kv @> '{{\"os\": \"linux\"}}' OR kv->>'branch' LIKE 'feature-1%') \
                 ORDER BY {CREATED} DESC, id LIMIT 100"
            ),
        )
    })
    .within(5_000.0)
}

fn random(count: u64) -> Vec<Work> {
    let picks = |name: &str, limit: u32, filter: &dyn Fn(u64) -> (String, String)| {
        Work::new(format!("random {limit} under {name}"), Answer::Random, |round| {
            let (text, condition) = filter(round);
            Case {
                all: Some(format!("SELECT id FROM resources WHERE {condition}")),
                ..case(
                    format!("{text} pick random limit {limit}"),
                    format!("SELECT id FROM resources WHERE {condition} ORDER BY random() LIMIT {limit}"),
                )
            }
        })
    };
    let common = |round| (format!("team = {}", team(round)), format!("kv @> '{{\"team\": {}}}'", team(round)));
    let rare = |round: u64| {
        let begin = BEGIN_MS + (round * 977_777 % count) * STEP_MS;
        let end = begin + (count / 100_000).max(1) * STEP_MS;
        (format!("created >= {begin} and created < {end}"), format!("{CREATED} >= {begin} AND {CREATED} < {end}"))
    };
    let joint = |round| {
        let team = team(round);
        (format!("team = {team} and cpu >= 60"), format!("kv @> '{{\"team\": {team}}}' AND (kv->>'cpu')::int >= 60"))
    };
    vec![
        picks("1%", 1, &common).within(50.0),
        picks("1%", 100, &common).within(50.0),
        picks("0.001% (a range)", 1, &rare).within(1_000.0),
        picks("0.001% (a range)", 100, &rare).within(1_000.0),
        picks("0.01% (two conditions)", 1, &joint),
    ]
}

fn round_robin() -> Work {
    Work::new("round robin, next under 1%", Answer::Next, |round| {
        let team = team(round);
        // In the lower half, so that no case has to wrap.
        let cursor = (u128::from(round + 1) * 0x0123_4567_89AB_CDEF_0123_4567_89AB) << 16 >> 1;
        let after = willow_model::Id::from_u128(cursor);
        Case {
            cursor,
            ..case(
                format!("team = {team} pick round robin \"c\""),
                format!(
                    "SELECT id FROM resources WHERE kv @> '{{\"team\": {team}}}' AND id > '{after}' ORDER BY id LIMIT 1"
                ),
            )
        }
    })
    .within(20.0)
}

fn counted() -> Work {
    Work::new("count of 1%", Answer::Count, |round| {
        let team = team(round);
        case(
            format!("team = {team} count limit 1"),
            format!("SELECT count(*) FROM resources WHERE kv @> '{{\"team\": {team}}}'"),
        )
    })
}

/// The condition that continues after the last resource of the page before.
pub(super) fn with_keyset(sql: &str, after: Option<(u64, willow_model::Id)>) -> String {
    let mut condition = String::new();
    if let Some((created, id)) = after {
        // Writing to a string does not fail.
        let _written = write!(condition, "AND ({CREATED}, id) > ({created}, '{id}')");
    }
    sql.replace("{after}", &condition)
}

/// The same page without a keyset, to check the keyset's with.
pub(super) fn with_offset(sql: &str, rows: usize) -> String {
    format!("{} OFFSET {rows}", sql.replace("{after}", ""))
}
