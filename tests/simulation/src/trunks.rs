//! A trunk of one or two channels that is met again and again: leads of a campaign come one by one, and somebody dials
//! through the same trunk while the dispatcher is at work. Whoever decides by what was read has decided too early.

use std::num::NonZeroU32;
use std::time::Duration;

use headroom::core::ids::NameCode;
use headroom::core::quota::Quota;
use headroom::flows::operate::Asked;

use crate::plan::{Campaign, Change};

const LEADS: u32 = 12;

/// In a quarter of the seeds: the campaign, and what happens when, until `chaos` is over. From a draw of its own: all else
/// is as without it.
pub(crate) fn met_often(seed: u64, chaos: Duration) -> Option<(Campaign, Vec<(Duration, Change)>)> {
    let t = &mut fastrand::Rng::with_seed(seed ^ 0x7a11_1e55);
    if t.u8(0..4) > 0 {
        return None;
    }
    let campaign = Campaign {
        id: "trunk".into(),
        agent: None,
        leads: (0..LEADS).map(|lead| (format!("l{lead}"), format!("+155555590{lead:02}"))).collect(),
        attempts: t.u32(1..=2),
        again: Default::default(),
        cap: None,
        max_seconds: 30,
        org: None,
        turn: Default::default(),
    };
    let mut changes = Vec::new();
    let lines = NonZeroU32::new(t.u32(1..=2));
    let members = || [NameCode::of("ph")].into();
    for (at, lines) in [(Duration::ZERO, lines), (chaos + Duration::from_secs(1), None)] {
        let quota = Some((
            "channels".parse().expect("a name"),
            Quota { lines, members: members(), ..Quota::default() },
        ));
        changes.push((at, Change::Operate(Asked { quota, ..Asked::default() })));
    }
    for (nth, lead) in campaign.leads.iter().enumerate() {
        let at = chaos.mul_f64((nth as f64 + t.f64()) / f64::from(LEADS + 1));
        changes.push((at, Change::Send(campaign.message(std::slice::from_ref(lead)))));
        // Between what a dispatcher reads and what it writes, with some luck.
        changes.push((at + Duration::from_millis(t.u64(0..150)), Change::ForeignDial));
    }
    Some((campaign, changes))
}
