//! Lists of numbers: one on each line, or a table as a spreadsheet writes it with a column called `number`. Read piece by
//! piece, as [`crate::leads`] are.
//!
//! A row that is no number is told by its line, never by what is in it.

use std::io::BufRead;

use headroom::core::ids::PhoneNumber;
use serde::Deserialize;

use crate::leads::{Format, ListError, Rows, number, read_line, skip_mark};

/// A row: its line, from 1, and its number or what is wrong with it.
pub type NumberRow = (u64, Result<PhoneNumber, String>);

/// The numbers of a list, read as they are asked for.
pub struct Numbers<R> {
    reading: Reading<R>,
}

enum Reading<R> {
    Table(Rows<R>),
    Bare { source: R, line: u64 },
}

impl<R: BufRead> Numbers<R> {
    /// The numbers of `source`, whose first line says how it is written.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn new(mut source: R) -> Result<Self, ListError> {
        skip_mark(&mut source)?;
        let begin = source.fill_buf()?;
        let first = begin.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty());
        let is_header = first.is_some_and(|line| {
            let cells = line.split(|byte| matches!(byte, b',' | b';' | b'\t'));
            cells.map(bare).any(|cell| cell.eq_ignore_ascii_case(b"number"))
        });
        let reading = if is_header {
            Reading::Table(Rows::new(source, Format::Csv))
        } else {
            Reading::Bare { source, line: 0 }
        };
        Ok(Self { reading })
    }

    /// The next number; nothing at the end. Empty lines are none.
    ///
    /// # Errors
    /// If the list cannot be read on. Then it is over.
    pub fn next_number(&mut self) -> Result<Option<NumberRow>, ListError> {
        match &mut self.reading {
            Reading::Table(rows) => {
                let row = rows.next_row()?;
                Ok(row.map(|row| (row.line, row.lead.and_then(|lead| number_of(&lead)))))
            }
            Reading::Bare { source, line } => next_bare(source, line),
        }
    }
}

/// A cell without its quotation marks.
fn bare(cell: &[u8]) -> &[u8] {
    let cell = cell.trim_ascii();
    cell.strip_prefix(b"\"").and_then(|cell| cell.strip_suffix(b"\"")).unwrap_or(cell).trim_ascii()
}

fn number_of(lead: &str) -> Result<PhoneNumber, String> {
    #[derive(Deserialize)]
    struct Lead {
        number: String,
    }
    let Lead { number } = serde_json::from_str(lead).map_err(|_| "it has no number".to_owned())?;
    parsed(&number)
}

fn parsed(number: &str) -> Result<PhoneNumber, String> {
    number.parse().map_err(|error: headroom::core::ids::IdError| error.to_string())
}

fn next_bare(source: &mut impl BufRead, line: &mut u64) -> Result<Option<NumberRow>, ListError> {
    while let Some(text) = read_line(source)? {
        *line += 1;
        let text = match &text {
            Ok(text) => bare(text),
            Err(why) => return Ok(Some((*line, Err(why.clone())))),
        };
        if text.is_empty() {
            continue;
        }
        let read = std::str::from_utf8(text).map_err(|_| "it is not UTF-8 text".to_owned());
        return Ok(Some((*line, read.and_then(|text| parsed(&number(text))))));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;
    use crate::leads::LONGEST_ROW;

    fn read(text: &[u8]) -> Vec<(u64, Option<String>)> {
        let mut numbers = Numbers::new(BufReader::with_capacity(256, text)).expect("a list");
        let mut all = Vec::new();
        while let Some((line, number)) = numbers.next_number().expect("goes on") {
            if let Err(why) = &number {
                assert!(!why.contains("555"), "{why}");
            }
            all.push((line, number.ok().map(|number| number.reveal().to_owned())));
        }
        all
    }

    #[test]
    fn a_list_is_bare_numbers_or_a_table_with_a_column_of_them() {
        let good = |line, number: &str| (line, Some(number.to_owned()));
        for (text, rows) in [
            (
                &b"+14155550100\n+1 (415) 555-0101\r\n\r\n '+14155550102\n"[..],
                vec![good(1, "+14155550100"), good(2, "+14155550101"), good(4, "+14155550102")],
            ),
            (
                b"\xef\xbb\xbf\"+14155550100\"\n4155550101\n\xff\n+14155550102",
                vec![good(1, "+14155550100"), (2, None), (3, None), good(4, "+14155550102")],
            ),
            (
                b"name;Number\nAda;+1 415 555 0100\nBob;\nC;555\n",
                vec![good(2, "+14155550100"), (3, None), (4, None)],
            ),
            (b"\n\"number\",since\n+14155550100,2026\n", vec![good(3, "+14155550100")]),
            (b"number\n+14155550100\n", vec![good(2, "+14155550100")]),
            (b"", vec![]),
            (b"\n\r\n", vec![]),
        ] {
            assert_eq!(read(text), rows, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_line_too_long_is_one_bad_row() {
        let text = format!("+14155550100\n{}\n+14155550101\n", "5".repeat(3 * LONGEST_ROW));
        assert_eq!(
            read(text.as_bytes()).iter().map(|(line, number)| (*line, number.is_some())).collect::<Vec<_>>(),
            [(1, true), (2, false), (3, true)]
        );
    }
}
