//! The resources: 3 to 6 pairs each, five on average, the same for whoever loads them.
//!
//! A repository and a branch by Zipf's law, a team of [`TEAMS`], an operating system of three,
//! processors by Zipf's law, and a time that no other resource has. Each resource follows from its
//! number alone, so that none needs to be kept.

use std::fmt::Write as _;

use willow_model::{Id, KeyValues, Kind, Value};

/// One team's resources are about 1% of all: at ten million just above a thousand pages of a hundred.
pub(super) const TEAMS: u64 = 98;
/// Milliseconds between one resource's time and the next one's.
pub(super) const STEP_MS: u64 = 17;
/// The first resource's time.
pub(super) const BEGIN_MS: u64 = 1_790_000_000_000;
/// Most processors of a machine.
const PROCESSORS: u64 = 64;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }

    /// By Zipf's law, near enough: the rank r comes about as often as 1/r.
    pub(super) fn zipf(&mut self, bound: u64) -> u64 {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        ((bound as f64).powf(uniform) as u64).saturating_sub(1).min(bound - 1)
    }
}

/// One resource.
pub(super) struct Resource {
    repo: u64,
    team: u16,
    created: u64,
    os: Option<&'static str>,
    cpu: Option<u8>,
    branch: Option<u64>,
}

impl Resource {
    /// The resource of this number among so many.
    pub(super) fn new(number: u64, count: u64) -> Self {
        // Two streams that start one apart would be the same stream, one step apart.
        let mut random = Random::new(Random::new(number).next());
        Self {
            repo: random.zipf(count / 50 + 10),
            team: random.below(TEAMS) as u16,
            created: BEGIN_MS + number * STEP_MS,
            os: (random.below(10) < 8).then(|| ["linux", "mac", "windows"][random.below(3) as usize]),
            cpu: (random.below(10) < 7).then(|| 1 + random.zipf(PROCESSORS) as u8),
            branch: (random.below(10) < 5).then(|| random.zipf(count / 5 + 10)),
        }
    }

    pub(super) fn key_values(&self) -> anyhow::Result<KeyValues> {
        let mut pairs: Vec<(&str, Value)> = vec![
            ("repo", format!("org/repo-{:06}", self.repo).into()),
            ("team", Value::U16(self.team)),
            ("created", Value::U64(self.created)),
        ];
        pairs.extend(self.os.map(|os| ("os", os.into())));
        pairs.extend(self.cpu.map(|cpu| ("cpu", Value::U8(cpu))));
        pairs.extend(self.branch.map(|branch| ("branch", format!("feature-{branch}").into())));
        Ok(KeyValues::user(pairs)?)
    }

    /// As a row of PostgreSQL's `COPY`: id, tab, JSON.
    pub(super) fn copy_row(&self, id: Id, out: &mut String) -> anyhow::Result<()> {
        let Self { repo, team, created, .. } = self;
        write!(out, "{id}\t{{\"repo\":\"org/repo-{repo:06}\",\"team\":{team},\"created\":{created}")?;
        if let Some(os) = self.os {
            write!(out, ",\"os\":\"{os}\"")?;
        }
        if let Some(cpu) = self.cpu {
            write!(out, ",\"cpu\":{cpu}")?;
        }
        if let Some(branch) = self.branch {
            write!(out, ",\"branch\":\"feature-{branch}\"")?;
        }
        out.push_str("}\n");
        Ok(())
    }
}

/// What a resource with these key values is known by.
pub(super) fn id(key_values: &KeyValues) -> Id {
    Id::derive(Kind::Counter, None, key_values.as_bytes())
}
