//! Lists of leads as people have them: CSV as spreadsheets write it, and JSON Lines, read piece by piece in constant
//! memory, each row into the JSON of a campaign message's lead. And a list of results written as CSV.
//!
//! Nothing here touches a file or a network. What a row says is judged where the message is read; here it must only be
//! a row. A bad one is told by its line, never by what is in it.

use std::io::BufRead;

use csv_core::ReadRecordResult;
use serde_json::{Map, Value};

/// Most bytes of a row: as many as a lead of a campaign message may have.
pub const LONGEST_ROW: usize = 64 * 1024;
/// Most columns. Spreadsheets have more, lists of people do not.
pub const MOST_COLUMNS: usize = 200;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A header, then a row for each lead; commas, semicolons or tabs.
    Csv,
    /// A JSON object on each line, as in a campaign message.
    JsonLines,
}

impl Format {
    /// By a file's name.
    pub fn of(name: &str) -> Option<Self> {
        let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
        match extension.as_str() {
            "csv" | "tsv" | "txt" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// The lead as JSON; or what is wrong with the row.
    pub lead: Result<String, String>,
}

/// Why a list cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file.
    #[error("the list cannot be read")]
    Io(#[from] std::io::Error),
    /// The first line does not name the columns, or does so in a way that means nothing.
    #[error("{0}")]
    Header(String),
}

/// The rows of a list, read as they are asked for.
pub struct Rows<R> {
    source: R,
    reading: Reading,
    is_begun: bool,
}

enum Reading {
    Csv(Box<Csv>),
    JsonLines { line: u64 },
}

impl<R: BufRead> Rows<R> {
    /// The rows of `source`. The first read comes with the first row.
    pub fn new(source: R, format: Format) -> Self {
        let reading = match format {
            Format::Csv => Reading::Csv(Box::new(Csv::new())),
            Format::JsonLines => Reading::JsonLines { line: 0 },
        };
        Self { source, reading, is_begun: false }
    }

    /// The next row; nothing at the end. Empty lines are none.
    ///
    /// # Errors
    /// If the list cannot be read on. Then it is over.
    pub fn next_row(&mut self) -> Result<Option<Row>, ListError> {
        if !std::mem::replace(&mut self.is_begun, true) {
            skip_mark(&mut self.source)?;
            if let Reading::Csv(csv) = &mut self.reading {
                csv.read_header(&mut self.source)?;
            }
        }
        match &mut self.reading {
            Reading::Csv(csv) => csv.next_row(&mut self.source),
            Reading::JsonLines { line } => next_line(&mut self.source, line),
        }
    }
}

/// Skips what some programs begin a text with, to say that it is UTF-8.
pub(crate) fn skip_mark(source: &mut impl BufRead) -> Result<(), ListError> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    let begin = source.fill_buf()?;
    if begin.starts_with(b"\xff\xfe") || begin.starts_with(b"\xfe\xff") {
        return Err(ListError::Header("the list is UTF-16: save it as \"CSV UTF-8\"".into()));
    }
    if begin.starts_with(MARK) {
        source.consume(MARK.len());
    }
    Ok(())
}

/// What a column's cells are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    /// One of the lead's own fields.
    Field(&'static str),
    /// A variable of this name.
    Variable(String),
}

/// The fields of a lead that a column may be, by its name in small letters. All others are variables.
const FIELDS: [&str; 5] = ["number", "id", "name", "timezone", "priority"];

struct Csv {
    reader: csv_core::Reader,
    columns: Vec<Column>,
    /// The present row's cells, one behind the other, and where each ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
}

enum Record {
    Cells { line: u64, bytes: usize, cells: usize },
    TooLong { line: u64 },
    End,
}

impl Csv {
    fn new() -> Self {
        Self {
            reader: csv_core::Reader::new(),
            columns: Vec::new(),
            cells: vec![0; LONGEST_ROW],
            ends: vec![0; MOST_COLUMNS + 1],
        }
    }

    fn read_header(&mut self, source: &mut impl BufRead) -> Result<(), ListError> {
        let bad = |text: String| Err(ListError::Header(text));
        self.reader = csv_core::ReaderBuilder::new().delimiter(delimiter(source.fill_buf()?)).build();
        let (bytes, cells) = match self.read_record(source)? {
            Record::Cells { bytes, cells, .. } => (bytes, cells),
            Record::TooLong { .. } => {
                return bad(format!(
                    "the first line must name the columns: it has more than {LONGEST_ROW} bytes or {MOST_COLUMNS} columns"
                ));
            }
            Record::End => return bad("the list is empty: its first line names the columns".into()),
        };
        let Some(names) = self.texts(bytes, cells) else {
            return bad("the first line is not UTF-8 text: save the list as \"CSV UTF-8\"".into());
        };
        let columns: Vec<Column> = names.iter().map(|name| column(name.trim())).collect();
        if !columns.contains(&Column::Field("number")) {
            return bad(format!(
                "no column is called number. The first line names {} columns; it must name one with the phone numbers so",
                columns.len()
            ));
        }
        for (nth, column) in columns.iter().enumerate() {
            let is_named = *column != Column::Variable(String::new());
            if is_named && columns[..nth].contains(column) {
                return bad(format!("column {} has the same name as one before it", nth + 1));
            }
        }
        self.columns = columns;
        Ok(())
    }

    fn next_row(&mut self, source: &mut impl BufRead) -> Result<Option<Row>, ListError> {
        let (line, bytes, cells) = match self.read_record(source)? {
            Record::Cells { line, bytes, cells } => (line, bytes, cells),
            Record::TooLong { line } => {
                let why = format!(
                    "it has more than {LONGEST_ROW} bytes or {MOST_COLUMNS} cells: is a quotation mark never closed?"
                );
                return Ok(Some(Row { line, lead: Err(why) }));
            }
            Record::End => return Ok(None),
        };
        let lead = match self.texts(bytes, cells) {
            Some(cells) => lead_of(&self.columns, &cells),
            None => Err("it is not UTF-8 text: save the list as \"CSV UTF-8\"".into()),
        };
        Ok(Some(Row { line, lead }))
    }

    fn texts(&self, bytes: usize, cells: usize) -> Option<Vec<&str>> {
        let (mut from, mut texts) = (0, Vec::with_capacity(cells));
        for end in &self.ends[..cells] {
            texts.push(std::str::from_utf8(self.cells[..bytes].get(from..*end)?).ok()?);
            from = *end;
        }
        Some(texts)
    }

    /// Reads one record. One that is too long is read to its end all the same, and dropped.
    fn read_record(&mut self, source: &mut impl BufRead) -> Result<Record, ListError> {
        let (mut bytes, mut cells, mut is_long) = (0, 0, false);
        // Line breaks since its first byte; those before it end other records, or are empty lines.
        let (mut is_begun, mut breaks) = (false, 0);
        loop {
            let input = source.fill_buf()?;
            if is_long {
                // From the beginning again: what comes is not kept.
                (bytes, cells) = (0, 0);
            }
            let (result, read, wrote, ended) =
                self.reader.read_record(input, &mut self.cells[bytes..], &mut self.ends[cells..]);
            for byte in &input[..read] {
                is_begun |= !matches!(byte, b'\r' | b'\n');
                breaks += u64::from(is_begun && *byte == b'\n');
            }
            source.consume(read);
            (bytes, cells) = (bytes + wrote, cells + ended);
            let line = self.reader.line().saturating_sub(breaks).max(1);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => is_long = true,
                ReadRecordResult::Record if is_long || cells > MOST_COLUMNS => {
                    return Ok(Record::TooLong { line });
                }
                ReadRecordResult::Record => return Ok(Record::Cells { line, bytes, cells }),
                ReadRecordResult::End if is_long => return Ok(Record::TooLong { line }),
                ReadRecordResult::End => return Ok(Record::End),
            }
        }
    }
}

/// What parts the cells: whichever of the usual signs the first line has most of, outside of quotation marks.
fn delimiter(begin: &[u8]) -> u8 {
    let (mut quoted, mut counts) = (false, [(b',', 0), (b';', 0), (b'\t', 0)]);
    for byte in begin {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted && counts.iter().any(|(_, count)| *count > 0) => break,
            sign if !quoted => {
                for (delimiter, count) in &mut counts {
                    *count += usize::from(delimiter == sign);
                }
            }
            _ => {}
        }
    }
    // The first of several with as many.
    counts.iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(delimiter, _)| *delimiter)
}

fn column(name: &str) -> Column {
    let field = FIELDS.into_iter().find(|field| field.eq_ignore_ascii_case(name));
    field.map_or_else(|| Column::Variable(name.to_owned()), Column::Field)
}

fn lead_of(columns: &[Column], cells: &[&str]) -> Result<String, String> {
    if cells.len() > columns.len() && cells[columns.len()..].iter().any(|cell| !cell.trim().is_empty()) {
        return Err(format!("it has {} cells, and there are {} columns", cells.len(), columns.len()));
    }
    let (mut lead, mut variables) = (Map::new(), Map::new());
    for (column, cell) in columns.iter().zip(cells) {
        let cell = cell.trim();
        match column {
            Column::Field(_) if cell.is_empty() => {}
            Column::Field("number") => {
                lead.insert("number".into(), number(cell).into());
            }
            Column::Field("priority") => {
                let number = cell.parse::<i64>().map(Value::from);
                lead.insert("priority".into(), number.unwrap_or_else(|_| cell.to_ascii_lowercase().into()));
            }
            Column::Field(field) => {
                lead.insert((*field).to_owned(), cell.into());
            }
            // A column without a name has nothing that a template could ask for.
            Column::Variable(name) if name.is_empty() => {}
            Column::Variable(name) => {
                variables.insert(name.clone(), cell.into());
            }
        }
    }
    if !lead.contains_key("number") {
        return Err("its number is empty".into());
    }
    if !variables.is_empty() {
        lead.insert("variables".into(), Value::Object(variables));
    }
    Ok(Value::Object(lead).to_string())
}

/// A number as people write it. Spreadsheets take a plus for arithmetic unless an apostrophe stands before it.
pub(crate) fn number(cell: &str) -> String {
    let cell = cell.strip_prefix('\'').unwrap_or(cell);
    let is_written =
        |c: char| c.is_ascii_digit() || matches!(c, ' ' | '\u{a0}' | '-' | '.' | '(' | ')' | '/');
    match cell.strip_prefix('+') {
        Some(rest) if rest.chars().all(is_written) => {
            format!("+{}", rest.chars().filter(char::is_ascii_digit).collect::<String>())
        }
        _ => cell.to_owned(),
    }
}

/// The next line of a text without its end, or what is wrong with it, kept to [`LONGEST_ROW`]; nothing at the end.
pub(crate) fn read_line(source: &mut impl BufRead) -> Result<Option<Result<Vec<u8>, String>>, ListError> {
    let (mut text, mut length, mut is_end) = (Vec::new(), 0, true);
    loop {
        let input = source.fill_buf()?;
        if input.is_empty() {
            break;
        }
        is_end = false;
        let found = input.iter().position(|byte| *byte == b'\n');
        let piece = &input[..found.unwrap_or(input.len())];
        let room = LONGEST_ROW.saturating_sub(text.len());
        text.extend_from_slice(&piece[..piece.len().min(room)]);
        length += piece.len();
        let read = found.map_or(input.len(), |at| at + 1);
        source.consume(read);
        if found.is_some() {
            break;
        }
    }
    let is_long = length > LONGEST_ROW;
    let read = if is_long { Err(format!("it has more than {LONGEST_ROW} bytes")) } else { Ok(text) };
    Ok((!is_end).then_some(read))
}

fn next_line(source: &mut impl BufRead, line: &mut u64) -> Result<Option<Row>, ListError> {
    while let Some(text) = read_line(source)? {
        *line += 1;
        let row = |lead| Ok(Some(Row { line: *line, lead }));
        let text = match &text {
            Ok(text) => text.trim_ascii(),
            Err(why) => return row(Err(why.clone())),
        };
        if text.is_empty() {
            continue;
        }
        let Ok(text) = std::str::from_utf8(text) else { return row(Err("it is not UTF-8 text".into())) };
        // Written anew, so that a lead is one value, whatever stood around it.
        return match serde_json::from_str::<&serde_json::value::RawValue>(text) {
            Ok(value) if value.get().starts_with('{') => row(Ok(value.get().to_owned())),
            Ok(_) => row(Err("it is not a JSON object".into())),
            Err(_) => row(Err("it is not JSON".into())),
        };
    }
    Ok(None)
}

/// A line of CSV, quoted where it must be. A cell that a spreadsheet would take for a formula, because it begins with
/// `=`, `+`, `-`, `@`, a tab or a carriage return, gets an apostrophe before it, which says that it is text. A phone
/// number as the table keeps them (a plus and digits) stays as it is: it can be no formula that does anything, and a
/// list of results can be read as a list of leads again.
pub fn csv_line(cells: &[&str]) -> String {
    let mut line = String::new();
    for (nth, cell) in cells.iter().enumerate() {
        if nth > 0 {
            line.push(',');
        }
        let is_number = cell.strip_prefix('+').is_some_and(|digits| {
            (1..=15).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
        });
        let safe = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number { "'" } else { "" };
        if cell.contains(['"', ',', ';', '\n', '\r', '\t']) {
            line.push_str(&format!("\"{safe}{}\"", cell.replace('"', "\"\"")));
        } else {
            line.push_str(safe);
            line.push_str(cell);
        }
    }
    line.push_str("\r\n");
    line
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use serde_json::json;

    use super::*;

    /// All rows, read through a buffer of so many bytes.
    fn rows_by(text: &[u8], format: Format, buffer: usize) -> Result<Vec<Row>, ListError> {
        let mut rows = Rows::new(BufReader::with_capacity(buffer, text), format);
        let mut all = Vec::new();
        while let Some(row) = rows.next_row()? {
            all.push(row);
        }
        Ok(all)
    }

    fn rows(text: impl AsRef<[u8]>, format: Format) -> Vec<Row> {
        rows_by(text.as_ref(), format, 8192).expect("a list")
    }

    fn leads(rows: &[Row]) -> Vec<(u64, Value)> {
        let lead = |row: &Row| {
            let json = row
                .lead
                .as_ref()
                .map_or_else(|why| json!(why), |lead| serde_json::from_str(lead).expect("JSON"));
            (row.line, json)
        };
        rows.iter().map(lead).collect()
    }

    #[test]
    fn columns_are_fields_by_name_and_variables_else() {
        let text = "Number,ID,name,TimeZone,Priority,plan,\n+14155550100,crm-1,Ada,Europe/Berlin,High,gold,\n+14155550101,,,,,,\n";
        assert_eq!(
            leads(&rows(text, Format::Csv)),
            [
                (
                    2,
                    json!({ "number": "+14155550100", "id": "crm-1", "name": "Ada", "timezone": "Europe/Berlin",
                            "priority": "high", "variables": { "plan": "gold" } })
                ),
                (3, json!({ "number": "+14155550101", "variables": { "plan": "" } })),
            ]
        );
    }

    #[test]
    fn lists_come_as_spreadsheets_write_them() {
        let expected =
            json!({ "number": "+14155550100", "name": "Ada, \"A\"\nB", "variables": { "x": "1;2" } });
        for text in [
            "number,name,x\r\n+14155550100,\"Ada, \"\"A\"\"\nB\",1;2\r\n",
            "\u{feff}number;name;x\r\n+1 (415) 555-0100;\"Ada, \"\"A\"\"\nB\";\"1;2\"\r\n\r\n\r\n",
            "number\tname\tx\n'+1 415 555 0100\t\"Ada, \"\"A\"\"\nB\"\t1;2",
            "\n\"number\",\"name\",\"x\"\n\n+14155550100,\"Ada, \"\"A\"\"\nB\",1;2",
        ] {
            for buffer in [3, 7, 8192] {
                let rows = rows_by(text.as_bytes(), Format::Csv, buffer);
                // A first read of three bytes shows no sign of what parts the cells but a comma.
                if buffer < 8192 && !text.contains("number,") && !text.contains("\"number\",") {
                    continue;
                }
                let rows = rows.expect("a list");
                assert_eq!(
                    leads(&rows).into_iter().map(|(_, lead)| lead).collect::<Vec<_>>(),
                    std::slice::from_ref(&expected),
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn bad_rows_are_told_by_their_lines_and_the_others_go_on() {
        let mut text = b"number,name\r\n+14155550100,\xff\r\n,Ada\r\n\r\n+14155550101,\"two\nlines\"\r\n+1,a,b\r\n+14155550102,".to_vec();
        let rows_read = rows(&text, Format::Csv);
        let lines: Vec<_> = rows_read.iter().map(|row| (row.line, row.lead.is_ok())).collect();
        assert_eq!(lines, [(2, false), (3, false), (5, true), (7, false), (8, true)]);
        // A quotation mark that is never closed takes the rest with it, and no more memory than a row.
        text.extend(b"\r\n+14155550103,\"");
        text.extend(std::iter::repeat_n(b"+14155550104,x\r\n", 20_000).flatten());
        let rows_read = rows(&text, Format::Csv);
        assert!(
            rows_read
                .last()
                .is_some_and(|row| row.lead.as_ref().is_err_and(|why| why.contains("never closed")))
        );
        assert!(rows_read.iter().all(|row| row.lead.as_ref().is_ok_and(|_| true)
            || row.lead.as_ref().is_err_and(|why| !why.contains("415"))));
    }

    #[test]
    fn a_row_too_long_does_not_take_the_next_one_along() {
        let long = "x".repeat(2 * LONGEST_ROW);
        let many = ",".repeat(2 * MOST_COLUMNS);
        for row in [long, many] {
            let text = format!("number,name\n{row}\n+14155550100,Ada\n");
            for buffer in [5, 8192] {
                let rows = rows_by(text.as_bytes(), Format::Csv, buffer).expect("a list");
                let good: Vec<_> = rows.iter().map(|row| (row.line, row.lead.is_ok())).collect();
                assert_eq!(good, [(2, false), (3, true)]);
            }
        }
    }

    #[test]
    fn a_list_without_numbers_is_refused_with_what_to_do() {
        for (text, part) in [
            (&b""[..], "empty"),
            (b"\r\n\r\n", "empty"),
            (b"phone,name\n+14155550100,Ada\n", "number"),
            (b"+14155550100\n", "number"),
            (b"number,x,x\n", "column 3"),
            (b"\xff\xfen\0u\0", "UTF-16"),
            (b"number,\xff\n", "UTF-8"),
        ] {
            let error = rows_by(text, Format::Csv, 8192).expect_err("refused").to_string();
            assert!(error.contains(part) && !error.contains("415"), "{error}");
        }
    }

    #[test]
    fn json_lines_are_objects_one_by_one() {
        let long = format!(r#"{{"number":"{}"}}"#, "1".repeat(LONGEST_ROW));
        let text = format!(
            "\u{feff}{{\"number\":\"+14155550100\"}}\r\n\n 7\n{{\"number\":\n{long}\n{{}} {{}}\n{{\"number\":\"+14155550101\",\"priority\":2}}"
        );
        for buffer in [4, 8192] {
            let rows = rows_by(text.as_bytes(), Format::JsonLines, buffer).expect("a list");
            let good: Vec<_> = rows.iter().map(|row| (row.line, row.lead.is_ok())).collect();
            assert_eq!(good, [(1, true), (3, false), (4, false), (5, false), (6, false), (7, true)]);
        }
        assert_eq!(Format::of("a/List.CSV"), Some(Format::Csv));
        assert_eq!(Format::of("a.b.jsonl"), Some(Format::JsonLines));
        assert_eq!(Format::of("list"), None);
    }

    #[test]
    fn results_are_data_and_no_formulas() {
        for (cells, line) in [
            (&["a", "b"][..], "a,b\r\n"),
            (&["+14155550100", "x"], "+14155550100,x\r\n"),
            (&["=1+1", "+1+1", "-1", "@x", "a=b"], "'=1+1,'+1+1,'-1,'@x,a=b\r\n"),
            (&["a,b", "a\"b", "a\nb", ""], "\"a,b\",\"a\"\"b\",\"a\nb\",\r\n"),
            (&["=\"x\",y"], "\"'=\"\"x\"\",y\"\r\n"),
            (&["+1415555010012345", "\ta"], "'+1415555010012345,\"'\ta\"\r\n"),
        ] {
            assert_eq!(csv_line(cells), line);
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let text = csv_line(&["number", "name"]) + &csv_line(&["+14155550100", "a \"b\", c;\nd"]);
        assert_eq!(
            leads(&rows(text, Format::Csv))[0].1,
            json!({ "number": "+14155550100", "name": "a \"b\", c;\nd" })
        );
    }
}
