//! Faults in a query's text, with the place.

use std::fmt::{self, Write as _};
use std::ops::Range;

/// Characters of a line that a rendering shows before and after the fault.
const CONTEXT: usize = 60;

/// A fault in a query's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextError {
    /// What is wrong, what was expected, what to do.
    pub reason: String,
    /// The faulty part, in bytes of the text.
    pub span: Range<usize>,
    /// Its line, from 1.
    pub line: usize,
    /// Its first character in the line, from 1.
    pub column: usize,
    /// The line around it, and where in that the fault is, in characters.
    excerpt: String,
    marked: Range<usize>,
}

/// A fault while its text is at hand.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: Range<usize>,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(span: Range<usize>, reason: impl Into<String>) -> Self {
        Self { span, reason: reason.into() }
    }

    /// Finds line and column in the text.
    pub(super) fn locate(self, text: &str) -> TextError {
        let Self { span, reason } = self;
        let before = &text[..span.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let line_text = text[line_start..].lines().next().unwrap_or("");
        let column = text[line_start..span.start].chars().count();
        let line_end = line_start + line_text.len();
        // At the end of a line nothing is left to mark, but the caret needs a place.
        let width = text[span.start..span.end.clamp(span.start, line_end.max(span.start))].chars().count();
        let skipped = column.saturating_sub(CONTEXT);
        let shown = column - skipped + width.clamp(1, CONTEXT) + CONTEXT;
        let excerpt = line_text.chars().skip(skipped).take(shown);
        let excerpt = excerpt.map(|c| if c.is_control() { ' ' } else { c }).collect();
        let marked = column - skipped..column - skipped + width.clamp(1, CONTEXT);
        TextError { reason, span, line, column: column + 1, excerpt, marked }
    }
}

impl TextError {
    /// The error with the line it is in, and carets under the faulty part, in several lines of
    /// text for a terminal.
    #[must_use]
    pub fn render(&self) -> String {
        let Self { reason, line, column, excerpt, marked, .. } = self;
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let mut out = String::new();
        let _ = writeln!(out, "{reason}");
        let _ = writeln!(out, "{margin}--> line {line}, column {column}");
        let _ = writeln!(out, "{margin} |");
        let _ = writeln!(out, "{number} | {excerpt}");
        let (indent, carets) = (" ".repeat(marked.start), "^".repeat(marked.len()));
        let _ = writeln!(out, "{margin} | {indent}{carets}");
        out
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, line, column, .. } = self;
        write!(f, "line {line}, column {column}: {reason}")
    }
}

impl std::error::Error for TextError {}
