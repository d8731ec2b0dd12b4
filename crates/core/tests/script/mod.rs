//! The script runner. A file is a list of blocks with a blank line between:
//!
//! ```text
//! # Why this is worth a look.
//! command words --option value        one command per line
//! ----
//! what came out                       compared, or rewritten with REWRITE=1
//! ```
//! Each file starts with an empty machine, and ends with the check that replay and snapshot-restore give
//! the same state. `pass MS` lets time pass; every other command is the vocabulary's.
#![expect(clippy::disallowed_methods, reason = "golden files are read and written")]

pub(crate) mod limiter;
pub(crate) mod locker;
pub(crate) mod queue;
mod queue_text;

use std::{collections::BTreeMap, fs, path::Path};

use crate::support::{Logged, check_replay_and_restore};

const RULE: &str = "----";

/// What the commands of a service look like.
pub(crate) trait Vocabulary {
    /// Carries out one command and tells what came of it, a line each; `Err` says what is not understood.
    fn run(&mut self, words: &Words, logged: &mut Logged) -> Result<Vec<String>, String>;
    /// Tells the effects since the last command, a line each.
    fn effects(&mut self, logged: &mut Logged) -> Vec<String>;
}

/// A command line, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// The first word.
    pub(crate) verb: String,
    /// Words that belong to no option, in groups separated by `+`, each with the options after it.
    pub(crate) groups: Vec<Group>,
}

/// One group of words: `a=1 b=2 --shared`.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The words, joined by spaces.
    pub(crate) text: String,
    /// Options with their values; empty for flags.
    pub(crate) options: BTreeMap<String, String>,
}

impl Words {
    fn parse(line: &str, flags: &[&str]) -> Self {
        let mut words = line.split_whitespace();
        let mut parsed = Self { verb: words.next().unwrap_or_default().to_owned(), groups: vec![Group::default()] };
        while let Some(word) = words.next() {
            let group = parsed.groups.last_mut().expect("there is one from the start");
            if word == "+" {
                parsed.groups.push(Group::default());
            } else if let Some(option) = word.strip_prefix("--") {
                let value = if flags.contains(&option) { "" } else { words.next().unwrap_or_default() };
                group.options.insert(option.to_owned(), value.to_owned());
            } else {
                group.text = format!("{} {word}", group.text).trim().to_owned();
            }
        }
        parsed
    }

    /// The words of the first group.
    pub(crate) fn text(&self) -> &str {
        &self.groups[0].text
    }

    /// An option, in whichever group.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.groups.iter().find_map(|group| group.options.get(name)).map(String::as_str)
    }

    /// A number among the options.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let parse = |text: &str| text.parse().map_err(|_| format!("--{name} {text}: not a number"));
        self.option(name).map(parse).transpose()
    }
}

/// Runs every script of a folder, each with a fresh vocabulary.
pub(crate) fn run_folder<V: Vocabulary>(folder: &str, vocabulary: &mut dyn FnMut() -> V) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(folder);
    let mut files: Vec<_> =
        fs::read_dir(&folder).expect("the folder is there").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no scripts");
    for file in files {
        let golden = fs::read_to_string(&file).expect("a readable script");
        let actual = run(&golden, &mut vocabulary());
        if std::env::var_os("REWRITE").is_some() {
            fs::write(&file, actual).expect("a writable script");
        } else {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            assert!(actual == golden, "{name} comes out differently; if rightly so, REWRITE=1\n{actual}");
        }
    }
}

fn run(golden: &str, vocabulary: &mut impl Vocabulary) -> String {
    let mut logged = Logged::default();
    let blocks: Vec<String> =
        golden.trim().split("\n\n").map(|block| run_block(block, vocabulary, &mut logged)).collect();
    check_replay_and_restore(&mut logged, 7);
    blocks.join("\n\n") + "\n"
}

fn run_block(block: &str, vocabulary: &mut impl Vocabulary, logged: &mut Logged) -> String {
    let input: Vec<&str> = block.lines().take_while(|line| *line != RULE).collect();
    let mut output = Vec::new();
    let commands = || input.iter().filter(|line| !line.starts_with('#') && !line.is_empty());
    for line in commands() {
        let words = Words::parse(line, &["shared", "any", "updatable"]);
        if words.verb == "pass" {
            logged.pass(words.text().parse().unwrap_or_else(|_| panic!("{line}: pass how many ms?")));
        } else {
            let told = vocabulary.run(&words, logged).unwrap_or_else(|reason| {
                // While a script is being written the rest of it is worth seeing.
                assert!(std::env::var_os("REWRITE").is_some(), "{line}: {reason}");
                vec![format!("?? {reason}")]
            });
            output.extend(told);
        }
        output.extend(vocabulary.effects(logged).into_iter().map(|effect| format!("  {effect}")));
    }
    let input = input.join("\n");
    if commands().next().is_none() {
        return input;
    }
    let output = if output.is_empty() { "(nothing)".to_owned() } else { output.join("\n") };
    format!("{input}\n{RULE}\n{output}")
}
