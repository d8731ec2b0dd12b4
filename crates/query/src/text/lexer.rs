//! From characters to tokens.

use std::ops::Range;

use willow_model::text::unquote;

use super::error::Fault;

/// A piece of a query's text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'t> {
    /// A word, or a key without backquotes.
    Word(&'t str),
    /// A key in backquotes.
    Key(String),
    /// A string in quotes.
    String(String),
    /// A number and what is written directly after it, its type.
    Number {
        /// Sign, digits, fraction, exponent.
        text: &'t str,
        /// The type's name; empty if there is none.
        suffix: &'t str,
    },
    /// A bracket, comma or operator.
    Symbol(&'static str),
    /// The end of the text.
    End,
}

/// Longer ones first, so that they win.
const SYMBOLS: [&str; 16] = ["==", "!=", "<=", ">=", "..", "=", "<", ">", "(", ")", "[", "]", "{", "}", ",", "*"];

/// Reads tokens from a text.
#[derive(Debug)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and where it is.
    pub(super) fn next(&mut self) -> Result<(Token<'t>, Range<usize>), Fault> {
        let rest = self.skip_space();
        let start = self.at;
        let Some(first) = rest.chars().next() else {
            return Ok((Token::End, start..start));
        };
        let (token, len) = match first {
            '"' => self.quoted(rest).map(|(text, len)| (Token::String(text), len))?,
            '`' => self.quoted(rest).map(|(text, len)| (Token::Key(text), len))?,
            c if starts_word(c) => {
                let word = prefix(rest, continues_word);
                (Token::Word(word), word.len())
            }
            _ if starts_number(rest) => {
                let text = number(rest);
                let suffix = prefix(&rest[text.len()..], |c| c.is_alphanumeric() || c == '_');
                (Token::Number { text, suffix }, text.len() + suffix.len())
            }
            _ => match SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
                Some(symbol) => (Token::Symbol(symbol), symbol.len()),
                None => {
                    let span = start..start + first.len_utf8();
                    let hint = "put strings in quotes, and keys with unusual characters in backquotes";
                    return Err(Fault::new(span, format!("unexpected character {first:?}; {hint}")));
                }
            },
        };
        self.at += len;
        Ok((token, start..self.at))
    }

    /// An id without quotes, which would not be one token otherwise; `None` if something else
    /// comes next.
    pub(super) fn id(&mut self) -> Option<(&'t str, Range<usize>)> {
        let rest = self.skip_space();
        let start = self.at;
        let id = prefix(rest, |c| c.is_ascii_alphanumeric() || c == '-');
        self.at += id.len();
        (!id.is_empty()).then_some((id, start..self.at))
    }

    fn skip_space(&mut self) -> &'t str {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        rest
    }

    fn quoted(&self, rest: &str) -> Result<(String, usize), Fault> {
        unquote(rest).map_err(|error| match error {
            willow_model::Error::Text { at, reason } => {
                let at = self.at + at;
                let end = self.text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
                Fault::new(at..end, reason)
            }
            other => Fault::new(self.at..self.at + 1, other.to_string()),
        })
    }
}

fn starts_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn continues_word(c: char) -> bool {
    c.is_alphanumeric() || "_.-/".contains(c)
}

/// Whether a key can be written without backquotes, words of the language aside.
pub(super) fn is_word(key: &str) -> bool {
    key.starts_with(starts_word) && key.chars().all(continues_word)
}

fn starts_number(rest: &str) -> bool {
    rest.strip_prefix('-').unwrap_or(rest).starts_with(|c: char| c.is_ascii_digit())
}

/// The number that `rest` starts with. A point or an `e` belongs to it only with digits after it,
/// so that `1..3` is a range.
fn number(rest: &str) -> &str {
    let sign = usize::from(rest.starts_with('-'));
    let mut end = sign + digits(&rest[sign..]);
    if rest[end..].starts_with('.') {
        let fraction = digits(&rest[end + 1..]);
        if fraction > 0 {
            end += 1 + fraction;
        }
    }
    if rest[end..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[end + 1..].starts_with(['-', '+']));
        let exponent = digits(&rest[end + 1 + sign..]);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    &rest[..end]
}

fn digits(text: &str) -> usize {
    prefix(text, |c| c.is_ascii_digit()).len()
}

fn prefix(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !belongs(c)).unwrap_or(text.len())]
}
