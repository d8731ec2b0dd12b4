//! Tests of the query language, by subject.

mod check;
mod docs;
mod eval;
mod json;
mod pages;
mod text;

use expect_test::ExpectFile;

/// Checks a golden file: each line that is not indented is an input, and what it becomes stands
/// indented below. `UPDATE_EXPECT=1` rewrites the file.
fn check_golden(text: &str, expect: &ExpectFile, run: impl Fn(&str) -> Result<String, String>) {
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with("    ")) {
        out += line;
        out += "\n";
        if line.is_empty() || line.starts_with("# ") {
            continue;
        }
        out += &match run(line) {
            Ok(empty) if empty.is_empty() => "    (empty)\n".to_owned(),
            Ok(result) => format!("    {result}\n"),
            Err(error) => format!("    error: {error}\n"),
        };
    }
    expect.assert_eq(&out);
}
