//! Checks the protocol in each of its worlds, and prints the counts. The exit code is 0 only if every
//! promise is kept in every state.
#![allow(clippy::print_stdout, reason = "the results are what this program is run for")]

use std::process::ExitCode;

use protocol_model::{Config, check};

fn main() -> ExitCode {
    let worlds = [
        ("2 lines, 3 leads, 2 dials at once, 2 crashes", Config::published()),
        ("2 lines, 1 lead, 2 crashes, every read a step of its own", Config::one_lead()),
        ("2 lines, one of them headroom, 2 leads and a caller, 2 crashes", Config::with_caller()),
    ];
    let mut clean = true;
    for (name, config) in worlds {
        let report = check(config);
        println!("{name}; messages lost, doubled, late and in any order:\n  {report}");
        clean &= report.is_clean();
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
