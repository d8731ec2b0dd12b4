//! `willow rule`, `willow override` and `willow limit`.

use clap::{Subcommand, ValueEnum};
use willow_api::{
    Revision,
    limiter::{
        CreateOverrideRequest, CreateRuleRequest, ExplainRequest, Limit, RuleMode, UnsavedRule, UpdateOverrideRequest,
        UpdateRuleRequest,
    },
};
use willow_client::Client;

use super::answer;
use crate::{
    args::{QueryArguments, key_values, limit, pattern},
    failure::Failure,
    output::{BLOCKING, Format, OVERRIDES, Output, RULE_REASONS, RULES},
};

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    /// It denies
    Enforce,
    /// It only counts what it would deny
    Shadow,
}

impl From<Mode> for RuleMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Enforce => Self::Enforce,
            Mode::Shadow => Self::Shadow,
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Add a rule: 'repo=*' branch=main --limit 1
    Create {
        /// Its name
        name: String,
        /// What it governs; an unquoted * is any value
        #[arg(required = true)]
        key_values: Vec<String>,
        /// Of each bucket: a number, or "unlimited"
        #[arg(long, value_parser = limit)]
        limit: Limit,
        /// Whether it denies
        #[arg(long, value_enum, default_value = "enforce")]
        mode: Mode,
    },
    /// Show one rule
    Get {
        /// Its name or id
        rule: String,
    },
    /// Change a rule's limit and mode
    Update {
        /// Its name or id
        rule: String,
        /// New limit
        #[arg(long, value_parser = limit)]
        limit: Limit,
        /// Whether it denies; no default, which would silently end a trial in the shadow
        #[arg(long, value_enum)]
        mode: Mode,
        /// New name
        #[arg(long)]
        name: Option<String>,
        /// Only if it has this revision
        #[arg(long)]
        if_match: Option<u64>,
    },
    /// Remove a rule and its overrides
    Delete {
        /// Its name or id
        rule: String,
        /// Only if it has this revision
        #[arg(long)]
        if_match: Option<u64>,
    },
    /// List rules; `matching {repo="willow"}` finds those that a counter falls under
    #[command(visible_alias = "list")]
    Query(QueryArguments),
}

#[derive(Subcommand)]
pub(crate) enum OverrideVerb {
    /// Add an override: narrower key values with a limit of their own
    Create {
        /// The rule's name or id
        rule: String,
        /// Its name
        name: String,
        /// What it governs; an unquoted * is any value
        #[arg(required = true)]
        key_values: Vec<String>,
        /// Of each bucket: a number, or "unlimited"
        #[arg(long, value_parser = limit)]
        limit: Limit,
    },
    /// Show one override
    Get {
        /// The rule's name or id
        rule: String,
        /// Its name or id
        name: String,
    },
    /// Change an override's limit
    Update {
        /// The rule's name or id
        rule: String,
        /// Its name or id
        name: String,
        /// New limit
        #[arg(long, value_parser = limit)]
        limit: Limit,
        /// Only if it has this revision
        #[arg(long)]
        if_match: Option<u64>,
    },
    /// Remove an override
    Delete {
        /// The rule's name or id
        rule: String,
        /// Its name or id
        name: String,
        /// Only if it has this revision
        #[arg(long)]
        if_match: Option<u64>,
    },
    /// List a rule's overrides
    #[command(visible_alias = "list")]
    Query {
        /// The rule's name or id
        rule: String,
        #[command(flatten)]
        query: QueryArguments,
    },
}

#[derive(Subcommand)]
pub(crate) enum LimitVerb {
    /// Would an increment pass? Every rule with a key in common, and why it applies or not
    Explain {
        /// The counter
        #[arg(required = true)]
        key_values: Vec<String>,
        /// How much
        #[arg(long, default_value_t = 1)]
        amount: u64,
        /// An unsaved rule, as NAME:LIMIT:KEY=VALUE,KEY=VALUE; may be repeated
        #[arg(long)]
        what_if: Vec<String>,
    },
}

pub(crate) async fn run(client: &Client, verb: Verb, output: &Output) -> Result<(), Failure> {
    let rules = client.rules();
    match verb {
        Verb::Create { name, key_values, limit, mode } => {
            let mut request = CreateRuleRequest::new(name, pattern(&key_values)?, limit);
            request.mode = Some(mode.into());
            output.one(&rules.create(&request).await?)
        }
        Verb::Get { rule } => output.one(&rules.get(&rule).await?),
        Verb::Update { rule, limit, mode, name, if_match } => {
            let request = UpdateRuleRequest { name, key_values: None, limit, mode: mode.into(), request_id: None };
            output.one(&rules.update(&rule, &request, if_match.map(Revision)).await?)
        }
        Verb::Delete { rule, if_match } => Ok(rules.delete(&rule, if_match.map(Revision)).await?),
        Verb::Query(query) => {
            let one = async |query| rules.query(&query).await;
            answer(&query, one, |query| rules.query_all(query), output, RULES).await
        }
    }
}

pub(crate) async fn run_override(client: &Client, verb: OverrideVerb, output: &Output) -> Result<(), Failure> {
    match verb {
        OverrideVerb::Create { rule, name, key_values, limit } => {
            let request = CreateOverrideRequest::new(name, pattern(&key_values)?, limit);
            let made = client.overrides(&rule).create(&request).await?;
            if !made.overlaps.is_empty() {
                eprintln!("note: it overlaps {}; where both match, both are enforced", made.overlaps.join(", "));
            }
            output.one(&made)
        }
        OverrideVerb::Get { rule, name } => output.one(&client.overrides(&rule).get(&name).await?),
        OverrideVerb::Update { rule, name, limit, if_match } => {
            let request = UpdateOverrideRequest { name: None, key_values: None, limit, request_id: None };
            output.one(&client.overrides(&rule).update(&name, &request, if_match.map(Revision)).await?)
        }
        OverrideVerb::Delete { rule, name, if_match } => {
            Ok(client.overrides(&rule).delete(&name, if_match.map(Revision)).await?)
        }
        OverrideVerb::Query { rule, query } => {
            let overrides = client.overrides(&rule);
            let one = async |query| overrides.query(&query).await;
            answer(&query, one, |query| overrides.query_all(query), output, OVERRIDES).await
        }
    }
}

pub(crate) async fn run_limit(client: &Client, verb: LimitVerb, output: &Output) -> Result<(), Failure> {
    let LimitVerb::Explain { key_values: counter, amount, what_if } = verb;
    let rules = what_if.iter().map(|text| unsaved(text)).collect::<Result<_, _>>()?;
    let request = ExplainRequest { key_values: key_values(&counter)?.into(), amount: Some(amount), rules };
    let explanation = client.rules().explain(&request).await?;
    if output.format() == Format::Json {
        return output.one(&explanation);
    }
    output.list(&explanation.rules, RULE_REASONS)?;
    if explanation.allowed {
        eprintln!("an increment by {amount} would pass");
    } else {
        eprintln!("an increment by {amount} would be denied by:");
        eprintln!("{}", crate::output::table_of(&explanation.denied_by, BLOCKING));
    }
    Ok(())
}

/// `NAME:LIMIT:KEY=VALUE,KEY=VALUE`.
fn unsaved(text: &str) -> Result<UnsavedRule, Failure> {
    let wrong = || Failure::usage(format!("--what-if {text}: write NAME:LIMIT:KEY=VALUE,KEY=VALUE"));
    let mut parts = text.splitn(3, ':');
    let (Some(name), Some(at), Some(pairs)) = (parts.next(), parts.next(), parts.next()) else { return Err(wrong()) };
    let pairs: Vec<String> = pairs.split(',').map(str::to_owned).collect();
    let limit = limit(at).map_err(Failure::usage)?;
    Ok(UnsavedRule { name: name.to_owned(), key_values: pattern(&pairs)?.into(), limit, mode: None })
}
