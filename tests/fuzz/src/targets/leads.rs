//! `Rows`: lists of leads as CSV and as JSON Lines, and the CSV that results are written as.

use std::io::BufReader;

use headroom_local::leads::{Format, LONGEST_ROW, Rows, csv_line};
use rand::RngExt as _;
use serde_json::Value;

use super::Target;
use crate::checks::{ensure, says_no_number};
use crate::corpus::{self, Corpus};
use crate::measure::{Bounds, Outcome};

pub(super) const NAME: &str = "leads";

pub(super) fn target() -> anyhow::Result<Target> {
    let corpus = corpus();
    Ok(Target {
        name: NAME,
        generate: Box::new(move |rng| {
            let mut input = corpus.body(rng);
            // The first byte says how the rest is read, and through how small a buffer.
            input.insert(0, rng.random());
            input
        }),
        run: Box::new(run),
        // A row of two bytes that is none has a reason.
        bounds: Bounds { memory_per_byte: 192, ..Bounds::READING },
        short: 8000,
        expected: &["rows", "some bad rows", "refused", "nothing"],
    })
}

fn corpus() -> Corpus {
    let lists: [&[u8]; 8] = [
        b"number,id,name,timezone,plan\r\n+14155550100,crm-1,Ada,Europe/Berlin,gold\r\n\r\n+14155550101,,\"B, \"\"C\"\"\nD\",,\r\n",
        b"\xef\xbb\xbfNumber;Name;Priority\n'+1 415 555 0100;Ada;3\n+14155550101;\"x;y\";high\n",
        b"name\tnumber\nAda\t+14155550100\n\t\n",
        b"number\n+14155550100\n\"+14155550101\n+14155550102\n",
        b"{\"number\":\"+14155550100\",\"variables\":{\"a\":[1]}}\r\n\r\n{\"id\":\"x\",\"number\":\"+14155550101\"}\n[]\n",
        b"\xff\xfen\0u\0m\0b\0e\0r\0\n\0",
        b"number,number\n",
        b"",
    ];
    Corpus::new(lists.into_iter().map(<[u8]>::to_vec).chain(corpus::kept(NAME)), 256 * 1024)
}

fn run(input: &[u8]) -> Outcome {
    let Some((how, text)) = input.split_first() else { return Ok("nothing") };
    let format = if how & 1 == 0 { Format::Csv } else { Format::JsonLines };
    let rows = read(text, format, 64 * 1024);
    // However the bytes come in, the rows are the same, as long as the first line shows what parts its cells.
    if format == Format::JsonLines {
        let pieces = read(text, format, 4 + usize::from(how >> 1));
        ensure(rows == pieces, || "read in pieces, the rows are others".into())?;
    }
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => {
            says_no_number(&error, text)?;
            return Ok("refused");
        }
    };
    let mut last = 0;
    for (line, lead) in &rows {
        ensure(*line >= last && *line as usize <= text.len() + 1, || format!("line {line} after {last}"))?;
        last = *line;
        match lead {
            Ok(lead) => {
                let json: Result<Value, _> = serde_json::from_str(lead);
                // What JSON Lines has is passed on as it is, and judged where the message is read.
                let is_read =
                    format == Format::JsonLines || json.is_ok_and(|json| json["number"].is_string());
                ensure(is_read && lead.starts_with('{'), || "a lead is no object with a number".into())?;
            }
            Err(why) => says_no_number(why, text)?,
        }
    }
    check_line(text)?;
    Ok(match rows.iter().filter(|(_, lead)| lead.is_err()).count() {
        _ if rows.is_empty() => "nothing",
        0 => "rows",
        _ => "some bad rows",
    })
}

type Read = Vec<(u64, Result<String, String>)>;

fn read(text: &[u8], format: Format, buffer: usize) -> Result<Read, String> {
    let mut rows = Rows::new(BufReader::with_capacity(buffer, text), format);
    let mut all = Vec::new();
    while let Some(row) = rows.next_row().map_err(|error| error.to_string())? {
        all.push((row.line, row.lead));
    }
    Ok(all)
}

/// Any text is one cell again, and none that a spreadsheet would work out.
fn check_line(text: &[u8]) -> Result<(), String> {
    let cell: String = String::from_utf8_lossy(text).chars().take(LONGEST_ROW / 8).collect();
    let written = csv_line(&["number", "x"]) + &csv_line(&["+1", &cell]);
    let formula = csv_line(&[&cell]);
    // Behind the quote that a cell may stand in; one of its own is a text's beginning.
    let bare = formula.strip_prefix('"').unwrap_or(&formula);
    let is_number = cell.len() <= 16
        && cell.strip_prefix('+').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    ensure(is_number || !bare.starts_with(['=', '+', '-', '@', '\t']), || "a cell is a formula".into())?;
    let rows = read(written.as_bytes(), Format::Csv, 1024)?;
    let [(_, Ok(lead))] = rows.as_slice() else {
        return Err(format!("a written row is {} rows", rows.len()));
    };
    let lead: Value = serde_json::from_str(lead).map_err(|error| error.to_string())?;
    let back = lead["variables"]["x"].as_str().unwrap_or_default();
    let expected = cell.trim();
    ensure(back == expected || back.strip_prefix('\'').map(str::trim) == Some(expected), || {
        "a cell does not read back".into()
    })
}
