//! What a rehearsal shows while it runs: lines by kind and the campaign's progress, as bars that
//! move on a terminal, or as a line now and then.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use headroom::flows::status::Status;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use vapi_sim::Truth;

use crate::verdict::Terms;

/// The view.
pub(crate) struct View {
    bars: Option<Bars>,
    started: Instant,
    shown: Option<Instant>,
    speed: f64,
}

struct Bars {
    lines: ProgressBar,
    leads: ProgressBar,
}

/// Between two plain lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

impl View {
    /// A live view on a terminal, plain lines elsewhere or if asked for.
    pub(crate) fn new(plain: bool, terms: Terms) -> Self {
        let bars = (!plain && std::io::stdout().is_terminal()).then(|| {
            let all = MultiProgress::new();
            let bar = |length: u32, template: &str| {
                let style = ProgressStyle::with_template(template).expect("the templates are constants");
                all.add(ProgressBar::new(length.into()).with_style(style.progress_chars("█▌·")))
            };
            Bars {
                lines: bar(terms.lines, "  lines     {bar:40} {pos:>5}/{len}  {msg}"),
                leads: bar(terms.leads, "  campaign  {bar:40} {pos:>5}/{len}  {msg}"),
            }
        });
        Self { bars, started: Instant::now(), shown: None, speed: terms.speed }
    }

    /// How often the view wants to be shown something.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_millis(if self.bars.is_some() { 200 } else { 250 })
    }

    /// Shows the present figures.
    pub(crate) fn show(&mut self, status: &Status, truth: &Truth) {
        let pool = &status.pools[0];
        let leads = status.campaigns.first().map(|campaign| campaign.leads).unwrap_or_default();
        let by_kind = format!("{} outbound, {} inbound, {} web", pool.outbound, pool.inbound, pool.web);
        let progress = format!("{} reached, {} not, {} waiting", leads.done, leads.failed, leads.ready);
        let callers = format!("{} callers, {} blocked", truth.callers, truth.blocked_inbound);
        match &self.bars {
            Some(bars) => {
                bars.lines.set_position(pool.total.into());
                bars.lines.set_message(format!("{by_kind}; {callers}"));
                bars.leads.set_position((leads.done + leads.failed).into());
                bars.leads.set_message(progress);
            }
            None => {
                if self.shown.is_some_and(|shown| shown.elapsed() < PLAIN_INTERVAL) {
                    return;
                }
                self.shown = Some(Instant::now());
                let minutes = self.started.elapsed().as_secs_f64() * self.speed / 60.0;
                println!(
                    "{minutes:6.1} min  lines {}/{} ({by_kind})  leads: {progress}  {callers}",
                    pool.total, pool.limit
                );
            }
        }
    }

    /// The last picture stays.
    pub(crate) fn end(&self) {
        if let Some(bars) = &self.bars {
            bars.lines.abandon();
            bars.leads.abandon();
        }
    }
}
