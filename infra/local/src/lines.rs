//! What `headroom lines` prints: the lines as a bar with a segment for each agent's reserve and one for the
//! shared rest, the reserves as a table, and who holds lines now.

use std::collections::BTreeMap;

use headroom::core::pool::Policy;
use headroom::flows::health::{BreakerStatus, HealthStatus};
use headroom::flows::status::{HeldLine, OrgStatus, PoolStatus, QuotaStatus, ReserveStatus};
use jiff::Timestamp;

/// Columns of the bar, without what parts its segments; fewer if they cannot be shared out evenly.
const WIDTH: u64 = 60;
const IDLE: char = '·';
const SHARED: char = '#';
/// Of the segments, in turn; the shared one is grey.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];
const GREY: u8 = 90;

/// The pool as text. `colours` are for a terminal.
pub(crate) fn report(pool: &PoolStatus, now: Timestamp, colours: bool) -> String {
    let mut lines = vec![summary(pool), String::new(), format!("  {}", bar(pool, colours)), String::new()];
    lines.extend(reserves(pool));
    if !pool.quotas.is_empty() {
        lines.push(String::new());
        lines.extend(pool.quotas.iter().map(|quota| format!("  quota {}", quota_in_words(quota))));
    }
    if !pool.orgs.is_empty() {
        lines.push(String::new());
        lines.extend(orgs(&pool.orgs));
    }
    let held = held(pool.held_by.as_deref().unwrap_or_default(), now);
    if !held.is_empty() {
        lines.push(String::new());
        lines.extend(held);
    }
    let warnings = warnings(pool);
    if !warnings.is_empty() {
        lines.push(String::new());
        lines.extend(warnings);
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A quota in one line.
pub(crate) fn quota_in_words(quota: &QuotaStatus) -> String {
    let QuotaStatus { name, lines, per_second, per_day, held, dialed_today } = quota;
    let most = |bound: &Option<u32>| bound.map(|most| format!(" of {most}")).unwrap_or_default();
    let rate = per_second.map(|rate| format!(", {rate} calls a second at most")).unwrap_or_default();
    let today = dialed_today.map(|dialed| format!(", {dialed}{} calls today (UTC)", most(per_day)));
    format!("{name}: {held}{} lines held{rate}{}", most(lines), today.unwrap_or_default())
}

/// What an operator should know of these numbers.
pub(crate) fn warnings(pool: &PoolStatus) -> Vec<String> {
    let mut warnings = Vec::new();
    let reserved = reserved(pool);
    if pool.over_reserved {
        warnings.push(format!(
            "Warning: {reserved} lines are reserved and there are {}: nothing is shared, and reserves compete. \
             Lower a reserve or raise the limit.",
            pool.limit
        ));
    } else if pool.shared_lines == 0 {
        warnings.push(
            "Warning: every line is reserved. No agent can go beyond its reserve, and an agent without one finds \
             no line, even while others' reserves are idle."
                .to_owned(),
        );
    } else if pool.headroom >= pool.shared_lines && pool.headroom > 0 {
        warnings.push(format!(
            "Warning: the headroom of {} leaves outbound none of the {} shared lines: campaigns dial within their \
             agents' reserves alone.",
            pool.headroom, pool.shared_lines
        ));
    }
    if let Some(unseen) = pool.unseen {
        warnings.push(format!(
            "{} lines are in use by others that nobody tells of, as of {} UTC by Vapi's figures: outbound leaves them \
             alone.",
            unseen.lines,
            unseen.at.strftime("%H:%M:%S")
        ));
    }
    warnings.extend(pool.health.iter().flat_map(health));
    if let Some(until) = &pool.resting_until {
        warnings.push(format!("Outbound rests until {until}: Vapi was full, or asked for it."));
    }
    warnings
}

/// How well outbound is going, where it is not: one line for its cap, and one for each breaker that is not closed.
fn health(health: &HealthStatus) -> Vec<String> {
    let HealthStatus { cap, of, why, since, breakers } = health;
    let at = |instant: &Timestamp| instant.strftime("%H:%M:%S UTC").to_string();
    let mut lines = Vec::new();
    if let (Some(why), Some(since)) = (why, since) {
        let why = match why.as_str() {
            "throttled" => "Vapi asked for fewer requests (429)",
            "over_limit" => "Vapi had no line left",
            "slow" => "Vapi answers slowly",
            "unanswered" => "Vapi did not answer, or with errors",
            "failures" => "calls ended for failures of Vapi or the carrier",
            other => other,
        };
        lines.push(format!("Outbound is held to {cap} of {of} lines since {}: {why}.", at(since)));
    }
    for BreakerStatus { dependency, of, state, since, failures, calls, reason, next_probe } in breakers {
        if state == "closed" {
            continue;
        }
        let of = of.as_ref().map(|of| format!(" of {of}")).unwrap_or_default();
        let next = match next_probe {
            Some(next) => format!("the next call goes ahead at {}", at(next)),
            None => "few calls go ahead to see whether it is well again".to_owned(),
        };
        lines.push(format!(
            "The {dependency}{of} fails since {} ({failures} of {calls} calls, the last with {reason}): its breaker is \
             {state}, {next}.",
            at(since)
        ));
    }
    lines
}

fn reserved(pool: &PoolStatus) -> u64 {
    pool.reserves.iter().map(lines_of).sum()
}

fn lines_of(reserve: &ReserveStatus) -> u64 {
    [reserve.inbound, reserve.outbound, reserve.web, reserve.chat].into_iter().map(u64::from).sum()
}

fn summary(pool: &PoolStatus) -> String {
    let over = pool.total.saturating_sub(pool.limit);
    let over =
        if over > 0 { format!(", {over} more than there are: nobody is cut off") } else { String::new() };
    format!(
        "{} lines: {} reserved, {} shared; cap {}, headroom {}\n{} held, {} free{over}",
        limit_in_words(pool.limit, pool.purchased),
        reserved(pool),
        pool.shared_lines,
        pool.cap,
        pool.headroom,
        pool.total,
        pool.free,
    )
}

/// A limit, and its two parts if they are known.
pub(crate) fn limit_in_words(limit: u32, purchased: u32) -> String {
    match purchased {
        _ if limit >= Policy::UNLIMITED => "none".to_owned(),
        0 => limit.to_string(),
        _ => format!("{limit} ({} included, {purchased} purchased)", limit - purchased.min(limit)),
    }
}

/// A letter for each agent in the bar and in the table: capitals, then small ones, then none are left.
fn letter(index: usize) -> char {
    ('A'..='Z').chain('a'..='z').nth(index).unwrap_or('*')
}

/// One segment for each reserve and one for the shared lines, as long as their shares; the held part shows the
/// letter. What is held beyond the shared lines stands behind the bar.
fn bar(pool: &PoolStatus, colours: bool) -> String {
    let mut segments: Vec<(char, u8, u64, u64)> = Vec::new();
    for (index, reserve) in pool.reserves.iter().enumerate() {
        let held = u64::from(reserve.held - reserve.beyond.min(reserve.held));
        segments.push((letter(index), COLOURS[index % COLOURS.len()], lines_of(reserve), held));
    }
    if pool.shared_lines > 0 {
        segments.push((SHARED, GREY, pool.shared_lines.into(), pool.shared.into()));
    }
    let whole: u64 = segments.iter().map(|(_, _, size, _)| size).sum();
    let columns = if whole <= WIDTH { WIDTH / whole.max(1) * whole } else { WIDTH };
    let column = |line: u64| (line * columns + whole / 2) / whole.max(1);
    let mut start = 0;
    let mut parts = Vec::new();
    for (letter, colour, size, held) in segments {
        let width = column(start + size) - column(start);
        start += size;
        let filled = filled(width, size, held);
        let text: String = (0..width).map(|column| if column < filled { letter } else { IDLE }).collect();
        parts.push(if colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text });
    }
    let beyond = pool.shared.saturating_sub(pool.shared_lines);
    let beyond = if beyond > 0 { format!(" +{beyond}") } else { String::new() };
    format!("|{}|{beyond}", parts.join("|"))
}

/// How many columns show what is held. Full is for full alone, and none for none.
fn filled(width: u64, size: u64, held: u64) -> u64 {
    if held >= size {
        width
    } else if held == 0 || width < 2 {
        0
    } else {
        (width * held / size).clamp(1, width - 1)
    }
}

fn reserves(pool: &PoolStatus) -> Vec<String> {
    if pool.reserves.is_empty() {
        return vec!["No lines are reserved: all agents share them, first come, first served.".to_owned()];
    }
    let header = ["", "agent", "inbound", "outbound", "web", "chat", "lines", "held", "beyond", ""];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for (index, reserve) in pool.reserves.iter().enumerate() {
        let ReserveStatus { agent, binding, inbound, outbound, web, chat, held, beyond } = reserve;
        let mut row = vec![letter(index).to_string(), agent.clone()];
        row.extend([inbound, outbound, web, chat].map(u32::to_string));
        row.push(lines_of(reserve).to_string());
        row.extend([held, beyond].map(u32::to_string));
        row.push(if binding == "pooled" { binding.clone() } else { String::new() });
        rows.push(row);
    }
    let mut shared = vec![SHARED.to_string(), "shared".to_owned()];
    shared.extend(["", "", "", ""].map(str::to_owned));
    let beyond = pool.shared.saturating_sub(pool.shared_lines);
    shared.extend([pool.shared_lines, pool.shared, beyond].map(|lines| lines.to_string()));
    shared.push(String::new());
    rows.push(shared);
    aligned(&rows, &[0, 1, 9])
}

/// What each organisation holds, one row for each.
fn orgs(orgs: &[OrgStatus]) -> Vec<String> {
    let mut rows = vec![["held", "organisation", "inbound", "outbound", "web"].map(str::to_owned).to_vec()];
    rows.extend(orgs.iter().map(|org| {
        let numbers = [org.inbound, org.outbound, org.web].map(|lines| lines.to_string());
        [org.total.to_string(), org.name.clone()].into_iter().chain(numbers).collect()
    }));
    let mut lines = aligned(&rows, &[1]);
    lines.push("  One subscription: a line that one organisation uses is gone for all of them.".to_owned());
    lines
}

/// Who holds lines now: one row for each kind, agent and campaign, the largest first.
fn held(lines: &[HeldLine], now: Timestamp) -> Vec<String> {
    let mut groups: BTreeMap<(&str, &str, &str), (u32, Timestamp)> = BTreeMap::new();
    for line in lines {
        let purpose = purpose(line.campaign.as_deref(), &line.kind);
        let agent = line.agent.as_deref().unwrap_or("–");
        let group = groups.entry((&line.kind, agent, purpose)).or_insert((0, line.since));
        group.0 += 1;
        group.1 = group.1.min(line.since);
    }
    if groups.is_empty() {
        return Vec::new();
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (lines, _))| std::cmp::Reverse(*lines));
    let mut rows = vec![["held", "kind", "agent", "for", "longest"].map(str::to_owned).to_vec()];
    rows.extend(groups.into_iter().map(|((kind, agent, purpose), (lines, since))| {
        let longest = span(now.duration_since(since).as_mins());
        vec![lines.to_string(), kind.to_owned(), agent.to_owned(), purpose.to_owned(), longest]
    }));
    aligned(&rows, &[1, 2, 3])
}

/// What a line is held for.
pub(crate) fn purpose<'a>(campaign: Option<&'a str>, kind: &str) -> &'a str {
    match (campaign, kind) {
        (Some(campaign), _) => campaign,
        (None, "inbound") => "callers",
        (None, "web") => "browsers",
        (None, "chat") => "chats",
        (None, _) => "not dialed by Headroom",
    }
}

pub(crate) fn span(minutes: i64) -> String {
    match minutes {
        ..1 => "< 1 min".to_owned(),
        1..60 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

/// Rows as columns, all but `left` ones flush right.
pub(crate) fn aligned(rows: &[Vec<String>], left: &[usize]) -> Vec<String> {
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if left.contains(&column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        format!("  {}", cells.collect::<Vec<_>>().join("  "))
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-05-01T10:00:00Z".parse().expect("an instant")
    }

    fn pool(limit: u32, reserves: Vec<ReserveStatus>, shared: u32) -> PoolStatus {
        let reserved: u64 = reserves.iter().map(lines_of).sum();
        let within: u32 = reserves.iter().map(|reserve| reserve.held - reserve.beyond).sum();
        let total = within + shared;
        PoolStatus {
            health: None,
            id: "main".into(),
            limit,
            cap: limit,
            headroom: 0,
            total,
            outbound: 0,
            foreign: 0,
            inbound: total,
            web: 0,
            chat: 0,
            shared,
            shared_lines: u64::from(limit).saturating_sub(reserved) as u32,
            reserves,
            quotas: Vec::new(),
            unseen: None,
            purchased: 0,
            orgs: Vec::new(),
            over_reserved: reserved > u64::from(limit),
            free: limit.saturating_sub(total),
            resting_until: None,
            shards: Vec::new(),
            held_by: None,
        }
    }

    fn reserve(
        agent: &str,
        [inbound, outbound, web, chat]: [u32; 4],
        held: u32,
        beyond: u32,
    ) -> ReserveStatus {
        let binding = "strict".into();
        ReserveStatus { agent: agent.into(), binding, inbound, outbound, web, chat, held, beyond }
    }

    fn line(kind: &str, agent: Option<&str>, campaign: Option<&str>, minutes: i64) -> HeldLine {
        let since = now() - jiff::SignedDuration::from_mins(minutes);
        HeldLine {
            kind: kind.into(),
            org: None,
            agent: agent.map(Into::into),
            campaign: campaign.map(Into::into),
            since,
        }
    }

    #[test]
    fn without_reserves_all_lines_are_one_segment() {
        let mut pool = pool(10, Vec::new(), 9);
        pool.held_by = Some(
            (0..6)
                .map(|n| line("inbound", None, None, n))
                .chain((0..3).map(|_| line("foreign", None, None, 75)))
                .collect(),
        );
        assert_eq!(
            report(&pool, now(), false),
            "\
10 lines: 0 reserved, 10 shared; cap 10, headroom 0
9 held, 1 free

  |######################################################······|

No lines are reserved: all agents share them, first come, first served.

  held  kind     agent  for                        longest
     6  inbound  –      callers                      5 min
     3  foreign  –      not dialed by Headroom  1 h 15 min
"
        );
    }

    #[test]
    fn reserves_are_segments_and_rows() {
        let mut sales = reserve("sales", [3, 4, 2, 3], 15, 3);
        sales.binding = "pooled".into();
        let mut pool = pool(20, vec![sales, reserve("support", [1, 2, 1, 1], 2, 0)], 3);
        pool.held_by = Some(vec![
            line("outbound", Some("sales"), Some("renewals-may"), 2),
            line("inbound", Some("support"), None, 0),
            line("outbound", Some("sales"), Some("renewals-may"), 3),
        ]);
        assert_eq!(
            report(&pool, now(), false),
            "\
20 lines: 17 reserved, 3 shared; cap 20, headroom 0
17 held, 3 free

  |AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA|BBBBBB·········|#########|

     agent    inbound  outbound  web  chat  lines  held  beyond
  A  sales          3         4    2     3     12    15       3  pooled
  B  support        1         2    1     1      5     2       0
  #  shared                                     3     3       0

  held  kind      agent    for           longest
     2  outbound  sales    renewals-may    3 min
     1  inbound   support  callers       < 1 min
"
        );
        let coloured = report(&pool, now(), true);
        assert!(coloured.contains("\u{1b}[36mAAAA") && coloured.contains("\u{1b}[90m####"), "{coloured}");
    }

    #[test]
    fn too_much_is_said_and_stands_behind_the_bar() {
        let all = pool(10, vec![reserve("a", [6, 0, 0, 0], 0, 0), reserve("b", [4, 0, 0, 0], 4, 0)], 0);
        assert_eq!(bar(&all, false), "|····································|BBBBBBBBBBBBBBBBBBBBBBBB|");
        assert!(warnings(&all)[0].starts_with("Warning: every line is reserved."), "{:?}", warnings(&all));

        let fallen = pool(5, vec![reserve("a", [6, 0, 0, 0], 8, 2), reserve("b", [4, 0, 0, 0], 1, 0)], 2);
        assert_eq!(
            report(&fallen, now(), false),
            "\
5 lines: 10 reserved, 0 shared; cap 5, headroom 0
9 held, 0 free, 4 more than there are: nobody is cut off

  |AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA|BBBBBB··················| +2

     agent   inbound  outbound  web  chat  lines  held  beyond
  A  a             6         0    0     0      6     8       2
  B  b             4         0    0     0      4     1       0
  #  shared                                    0     2       2

Warning: 10 lines are reserved and there are 5: nothing is shared, and reserves compete. Lower a reserve or raise the limit.
"
        );

        let mut guarded = pool(10, Vec::new(), 0);
        guarded.headroom = 10;
        assert!(warnings(&guarded)[0].contains("leaves outbound none of the 10 shared lines"));
        guarded.headroom = 9;
        assert_eq!(warnings(&guarded), Vec::<String>::new());
    }

    #[test]
    fn a_bar_is_never_wider_than_its_columns_and_full_only_when_full() {
        for limit in 1..400 {
            for held in [0, 1, limit / 2, limit - 1, limit] {
                let own = limit / 3;
                let bar = bar(
                    &pool(limit, vec![reserve("a", [own, 0, 0, 0], own.min(held), 0)], held - own.min(held)),
                    false,
                );
                assert!((30..=63).contains(&bar.chars().count()), "{limit} {held}: {bar}");
                assert_eq!(held == limit, !bar.contains(IDLE), "{limit} {held}: {bar}");
                assert_eq!(held > 0, bar.contains(['A', '#']), "{limit} {held}: {bar}");
            }
        }
        assert_eq!((letter(0), letter(25), letter(26), letter(51), letter(52)), ('A', 'Z', 'a', 'z', '*'));
    }
}
