//! How far a list has been read or written: a bar on a terminal, a line now and then elsewhere.

use std::cell::Cell;
use std::io::{IsTerminal as _, Read};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two plain lines of progress.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// How far a list has been read or written.
pub(crate) struct Progress {
    bar: ProgressBar,
    plain: Option<Cell<Instant>>,
    /// What is counted, such as `leads sent`.
    what: &'static str,
}

impl Progress {
    /// Of a list of so many bytes, or rows, 0 if nobody knows; nothing is shown where a script reads.
    pub(crate) fn new(is_quiet: bool, length: u64, what: &'static str) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = if is_quiet || !is_terminal || length == 0 {
            ProgressBar::hidden()
        } else {
            let template = "  {bar:40} {percent:>3} %  {msg}  {elapsed}";
            let style = ProgressStyle::with_template(template).expect("the template is a constant");
            ProgressBar::new(length).with_style(style.progress_chars("█▌·"))
        };
        let is_plain = !is_quiet && !is_terminal;
        Self { bar, plain: is_plain.then(|| Cell::new(Instant::now())), what }
    }

    /// The list, whose reading moves the bar.
    pub(crate) fn reads<R: Read>(&self, list: R) -> impl Read + use<R> {
        self.bar.wrap_read(list)
    }

    /// So many are done.
    #[allow(clippy::print_stderr, reason = "a command line prints")]
    pub(crate) fn show(&self, done: u64) {
        match &self.plain {
            Some(shown) if shown.get().elapsed() >= PLAIN_INTERVAL => {
                shown.set(Instant::now());
                eprintln!("{done} {} so far", self.what);
            }
            Some(_) => {}
            None => self.bar.set_message(format!("{done} {}", self.what)),
        }
    }

    /// So many rows of the list are done, and so much of the bar.
    pub(crate) fn show_rows(&self, done: u64) {
        self.bar.set_position(done);
        self.show(done);
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
