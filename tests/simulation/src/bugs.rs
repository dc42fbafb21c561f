//! Bugs of the field, planted one by one into a copy of the code, to see that the simulation finds them.
//!
//! Each is an edit of the real source: a text that is there exactly once, and what stands there instead.
//! Where the code moves on, a test says which edit no longer applies.

/// One bug.
#[derive(Debug, Clone, Copy)]
pub struct Bug {
    /// What goes wrong, as people say it.
    pub name: &'static str,
    /// The file, from the root of the project.
    pub file: &'static str,
    /// What is there.
    pub good: &'static str,
    /// What is there instead.
    pub bad: &'static str,
}

const DISPATCH: &str = "functions/headroom/src/flows/dispatch.rs";
const DIAL: &str = "functions/headroom/src/flows/dial.rs";
const SETTLE: &str = "functions/headroom/src/flows/settle.rs";
const PASS: &str = "functions/headroom/src/flows/reconcile.rs";
const LEDGER: &str = "functions/headroom/src/table/ledger.rs";
const LEADS: &str = "functions/headroom/src/table/leads.rs";
const QUEUE: &str = "functions/headroom/src/table/queue.rs";
const KPI: &str = "functions/headroom/src/table/kpi.rs";
const CHANGES: &str = "functions/headroom/src/table/changes.rs";
const POOL: &str = "functions/headroom/src/core/pool.rs";
const RESERVE: &str = "functions/headroom/src/core/reserve.rs";
const QUOTA: &str = "functions/headroom/src/core/quota.rs";
const SHARD: &str = "functions/headroom/src/core/shard.rs";
const SPREAD: &str = "functions/headroom/src/core/spread.rs";
const INTAKE: &str = "functions/headroom/src/flows/intake.rs";
const ORGS: &str = "functions/headroom/src/flows/orgs.rs";
const CALIBRATE: &str = "functions/headroom/src/flows/calibrate.rs";
const UNSEEN: &str = "functions/headroom/src/core/unseen.rs";
const RETRY: &str = "functions/headroom/src/core/retry.rs";
const FAIR: &str = "functions/headroom/src/core/fair.rs";
const PACING: &str = "functions/headroom/src/core/pacing.rs";
const HOURS: &str = "functions/headroom/src/core/hours.rs";
const PEOPLE: &str = "functions/headroom/src/table/people.rs";
const BREAKER: &str = "functions/headroom/src/core/breaker.rs";
const HEALTH: &str = "functions/headroom/src/core/health.rs";
const CAMPAIGNS: &str = "functions/headroom/src/flows/campaigns.rs";
const ANNOUNCE: &str = "functions/headroom/src/flows/announce.rs";

/// All of them.
pub const BUGS: [Bug; 99] = [
    Bug {
        name: "line freed on any error of the dial",
        file: DIAL,
        good: "                self.leave_unknown(claim).await?;\n                // One lost answer",
        bad: "                self.undo(pool, lead, lease, None).await?;\n                // One lost answer",
    },
    Bug {
        name: "dialed again after a time-out",
        file: "functions/headroom/src/vapi/dial.rs",
        good: "Err(error @ NoAnswer::Lost(_)) => return Dialed::Unclear { message: error_chain(&error) },",
        bad: "Err(_) => match self.send(Method::POST, \"/call\", Some(&body), self.timers.dial_timeout()).await {\n                Ok(answer) => answer,\n                Err(error) => return Dialed::Unclear { message: error_chain(&error) },\n            },",
    },
    Bug {
        name: "line freed on 404",
        file: PASS,
        good: "                    let seen = self.look_at_ceiling(lease, Some(call)).await;",
        bad: "                    let _ = call;\n                    let seen = self.app.free(self.pool, lease, None).await.map(|_| ());",
    },
    Bug {
        name: "counter lowered at every end, held or not",
        file: LEDGER,
        good: "String::from(\"lns.#k = :t AND rev = :rev\")",
        bad: "String::from(\"(lns.#k = :t OR attribute_exists(pk)) AND rev = :rev\")",
    },
    Bug {
        name: "end before start: a late ringing takes the line again",
        file: SETTLE,
        good: "        self.table.record_ended(call, end, self.clock.now()).await?;\n        let lease",
        bad: "        let lease",
    },
    Bug {
        name: "lease expires under a live call",
        file: "functions/headroom/src/core/timers.rs",
        good: "self.scaled(max_call + SignedDuration::from_mins(12))",
        bad: "self.scaled(max_call.min(SignedDuration::ZERO) + SignedDuration::from_mins(1))",
    },
    Bug {
        name: "lead lost when its function dies after claiming it",
        file: PASS,
        good: "            LeadState::Dialing { deadline, .. } => *deadline + self.app.timers.settling(),",
        bad: "            LeadState::Dialing { .. } => return Ok(()),",
    },
    Bug {
        name: "outcome written after the line is freed",
        file: SETTLE,
        good: "        let claim = lead.claim();\n        let line =",
        bad: "        let claim = lead.claim();\n        self.free(pool, &lease, None).await?;\n        let line =",
    },
    Bug {
        name: "lead given back after its line is freed",
        file: DIAL,
        good: "        match self.table.give_back(&lead.claim()).await? {",
        bad: "        self.free(pool, lease, None).await?;\n        match self.table.give_back(&lead.claim()).await? {",
    },
    Bug {
        name: "poison message blocks its batch",
        file: "functions/dispatcher/src/lib.rs",
        good: "    let mut response = SqsBatchResponse::default();\n",
        bad: "    let mut response = SqsBatchResponse::default();
    let bodies = || event.records.iter().filter_map(|message| message.body.as_deref());
    if bodies().any(|body| body != wake::BODY && body != wake::LATER && headroom::core::campaign::Message::parse(body.as_bytes()).is_err()) {
        for message in &event.records {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = message.message_id.clone().unwrap_or_default();
            response.batch_item_failures.push(failure);
        }
        return response;
    }\n",
    },
    Bug {
        name: "wake-up lost, and nobody sweeps",
        file: PASS,
        good: "        if running {\n            self.wake_dispatcher(Duration::ZERO).await;\n        }",
        bad: "        let _ = running;",
    },
    Bug {
        name: "line of an unmade claim freed without fencing the claim off",
        file: PASS,
        good: "        match self.app.table.fence(claim).await? {",
        bad: "        match Step::Refused(None) {",
    },
    Bug {
        name: "two dispatchers with one token",
        file: DISPATCH,
        good: "Token::new(Kind::Outbound, now, (app.nonce)())",
        bad: "Token::new(Kind::Outbound, now.round(jiff::Unit::Minute).unwrap_or(now), 0)",
    },
    Bug {
        name: "absence from the list believed at once",
        file: PASS,
        good: "        if self.now <= settled || !is_complete || !shown_later {",
        bad: "        let _ = shown_later;\n        if self.now <= settled - SignedDuration::from_secs(100) || !is_complete {",
    },
    Bug {
        name: "a list that was not answered taken for an empty one",
        file: ORGS,
        good: "(name.cloned(), listing.ok())",
        bad: "(name.cloned(), Some(listing.unwrap_or(Listing { calls: Vec::new(), complete: true })))",
    },
    Bug {
        name: "observed line freed before the end is on record",
        file: SETTLE,
        good: "        self.table.record_ended(call, end, self.clock.now()).await?;\n        let lease",
        bad: "        if let Some(lease) = pool.lease(&key) {\n            self.free(pool, &lease, None).await?;\n            return self.table.record_ended(call, end, self.clock.now()).await.map(|_| ());\n        }\n        let lease",
    },
    Bug {
        name: "line taken for a call without a look at its record",
        file: "functions/headroom/src/table/calls.rs",
        good: "    let (ended, end) = item.contains_key(\"ended\").then(",
        bad: "    let (ended, end) = item.contains_key(\"never\").then(",
    },
    Bug {
        name: "cap checked against a count read earlier",
        file: LEDGER,
        good: "\"rev = :rev AND ntot <= :total AND nout <= :cap AND rest_until <= :now AND cmp.#c.h <= :own\"",
        bad: "\"rev = :rev AND (ntot <= :total OR ntot > :total) AND (nout <= :cap OR nout > :cap) AND rest_until <= :now AND cmp.#c.h <= :own\"",
    },
    Bug {
        name: "a refusal for want of lines counted as an attempt",
        file: "functions/headroom/src/core/lead.rs",
        good: "        Group::OverLimit => (again(SignedDuration::ZERO, Counts::Nothing), Consequence::Rest),",
        bad: "        Group::OverLimit => (counted(Missed::NoAnswer), Consequence::Rest),",
    },
    Bug {
        name: "a blocked call with an id taken for a call",
        file: "functions/headroom/src/vapi/dial.rs",
        good: "        200..=299 if limits.blocked => Dialed::OverLimit { call, limits },\n",
        bad: "",
    },
    Bug {
        name: "a message counted each time it comes",
        file: "functions/headroom/src/table/campaigns.rs",
        good: "            .item(\"sk\", s(format!(\"M#{}\", message.as_str())))\n            .condition_expression(\"attribute_not_exists(pk)\")",
        bad: "            .item(\"sk\", s(format!(\"M#{}\", message.as_str())))",
    },
    Bug {
        name: "campaign finished because none of its leads is ready",
        file: DISPATCH,
        good: "        if counted.all_over() && self",
        bad: "        if (counted.all_over() || counted.total > 0) && self",
    },
    Bug {
        name: "dialed although its deadline is over",
        file: DIAL,
        good: "        let is_late = now + self.timers.dial_timeout() >= *deadline;",
        bad: "        let is_late = false;",
    },
    Bug {
        name: "leads of a message that died half-way are not counted",
        file: INTAKE,
        good: "        if new + again > 0 || !counted_before {",
        bad: "        if new > 0 {",
    },
    Bug {
        name: "an outcome overwritten by a later message",
        file: LEADS,
        good: "        let mut condition = String::from(\"claims = :claim AND st IN (:live, :dialing, :unknown)\");",
        bad: "        let mut condition = String::from(\n            \"claims = :claim AND (st IN (:live, :dialing, :unknown) OR attribute_exists(pk))\",\n        );",
    },
    Bug {
        name: "idle reserves lent to whoever asks",
        file: POOL,
        good: "u32::try_from(u64::from(self.policy.limit).saturating_sub(self.reserves.total())).unwrap_or_default()",
        bad: "self.policy.limit",
    },
    Bug {
        name: "headroom forgotten where lines are shared",
        file: POOL,
        good: "self.shared().saturating_sub(self.policy.headroom)",
        bad: "self.shared()",
    },
    Bug {
        name: "calls beyond a reserve not counted for it",
        file: POOL,
        good: "            full => Source::Shared(full),",
        bad: "            _ => Source::Shared(None),",
    },
    Bug {
        name: "a strict reserve serves every kind",
        file: RESERVE,
        good: "            (Binding::Pooled, _) => self.total(),",
        bad: "            (Binding::Pooled | Binding::Strict, _) if self.total() > 0 => self.total(),\n            (Binding::Pooled, _) => 0,",
    },
    Bug {
        name: "a line beyond a reserve goes back to the reserve",
        file: LEDGER,
        good: "        if beyond {\n",
        bad: "        if beyond && bucket.is_none() {\n",
    },
    Bug {
        name: "a new reserve takes no account of lines that moved meanwhile",
        file: CHANGES,
        good: "            condition.push_str(\" AND lns = :lns\");",
        bad: "            condition.push_str(\" AND (lns = :lns OR lns <> :lns)\");",
    },
    Bug {
        name: "a new reserve forgets the calls under way",
        file: CHANGES,
        good: "pool.uses_of(&wanted.reserves, &wanted.quotas)",
        bad: "Pool { lines: Default::default(), ..pool.clone() }.uses_of(&wanted.reserves, &wanted.quotas)",
    },
    Bug {
        name: "a line freed by the reserves of yesterday",
        file: LEDGER,
        good: "String::from(\"lns.#k = :t AND rev = :rev\")",
        bad: "String::from(\"lns.#k = :t AND (rev = :rev OR rev <> :rev)\")",
    },
    Bug {
        name: "callers let in on another's reserve",
        file: LEDGER,
        good: "                condition.push_str(\" AND nshr < :shared\");",
        bad: "                condition.push_str(\" AND (nshr < :shared OR nshr >= :shared)\");",
    },
    Bug {
        name: "a trunk's channels are counted and not bounded",
        file: LEDGER,
        good: "\" AND own.#q{i} <= :quota{i}\"",
        bad: "\" AND (own.#q{i} <= :quota{i} OR own.#q{i} > :quota{i})\"",
    },
    Bug {
        name: "two dispatchers begin the same second's calls",
        file: LEDGER,
        good: "format!(\"pace.#q{i} = :was{i}\")",
        bad: "format!(\"(pace.#q{i} = :was{i} OR pace.#q{i} <> :was{i})\")",
    },
    Bug {
        name: "calls of the day are not counted",
        file: QUOTA,
        good: "dialed: self.dialed_on(today).saturating_add(dials),",
        bad: "dialed: self.dialed_on(today).saturating_add(dials.min(1)),",
    },
    Bug {
        name: "an ended call still counts in its trunk",
        file: LEDGER,
        good: "own.#q{i} = own.#q{i} - :one",
        bad: "own.#q{i} = own.#q{i} + :one",
    },
    Bug {
        name: "a lead rejected that somebody has just claimed",
        file: LEADS,
        good: "let end = end\n            .condition_expression(\"st = :ready AND claims = :before\")",
        bad: "let end = end\n            .condition_expression(\"(st = :ready OR st <> :ready) AND (claims = :before OR claims <> :before)\")",
    },
    Bug {
        name: "a lead rejected whose last line is still to be freed, and counted with it",
        file: LEDGER,
        good: "attribute_exists(cmp.#c) AND attribute_not_exists(lns.#k)\"",
        bad: "attribute_exists(cmp.#c) AND (attribute_not_exists(lns.#k) OR attribute_exists(lns.#k))\"",
    },
    Bug {
        name: "an item's share rises into lines that others hold",
        file: SPREAD,
        good: "            (with_idle(have), if have.drains { have.total } else { u32::MAX })",
        bad: "            (0, if have.drains { 0 } else { u32::MAX })",
    },
    Bug {
        name: "lines moved between items by a count read earlier",
        file: "functions/headroom/src/table/shards.rs",
        good: "condition.push_str(&format!(\" AND {counter} <= :most_{counter}\"));",
        bad: "condition.push_str(&format!(\" AND ({counter} <= :most_{counter} OR {counter} > :most_{counter})\"));",
    },
    Bug {
        name: "a campaign's cap holds in each item, and not over all",
        file: SHARD,
        good: "        share(item.shard.index).saturating_sub(beyond.sum())",
        bad: "        cap + 0 * share(item.shard.index).saturating_sub(beyond.sum())",
    },
    Bug {
        name: "a line sought in the first item wherever it is",
        file: LEDGER,
        good: "        let shard = lease.token.shard();",
        bad: "        let shard = lease.token.shard() * 0;",
    },
    Bug {
        name: "an estimate of others' lines never fades",
        file: CALIBRATE,
        good: "until: now + self.timers.scaled(ESTIMATED)",
        bad: "until: now + 1000 * self.timers.scaled(ESTIMATED)",
    },
    Bug {
        name: "others' lines are told and not left to them",
        file: POOL,
        good: "map_or(0, |unseen| unseen.lines)",
        bad: "map_or(0, |_| 0)",
    },
    Bug {
        name: "a known sibling's calls counted as unseen as well",
        file: CALIBRATE,
        good: "    let calls: Vec<_> = listings.calls().filter(|call| call.is_live() || call.has_ended()).collect();",
        bad: "    let own = listings.of(None).into_iter().flat_map(|listing| &listing.calls);
    let calls: Vec<_> = own.filter(|call| call.is_live() || call.has_ended()).collect();",
    },
    Bug {
        name: "the call just made taken for somebody else's",
        file: UNSEEN,
        good: "                from <= self.at + blur && until.is_none_or(|until| until >= self.at - blur)\n            };",
        bad: "                from <= self.at - blur && until.is_none_or(|until| until >= self.at - blur)\n            };",
    },
    Bug {
        name: "calls that have just ended taken for somebody else's",
        file: UNSEEN,
        good: "until.is_none_or(|until| until >= self.at - blur)\n            };",
        bad: "until.is_none_or(|until| until >= self.at)\n            };",
    },
    Bug {
        name: "a figure of -1 taken for a full account",
        file: "functions/headroom/src/vapi/dial.rs",
        good: "        let remaining = self.remaining.or(self.blocked.then_some(0))?;",
        bad: "        let remaining = self.remaining.unwrap_or(0);",
    },
    Bug {
        name: "another pool's messages taken in",
        file: ORGS,
        good: "theirs != own && self.orgs",
        bad: "theirs != own && theirs.as_str().is_empty() && self.orgs",
    },
    Bug {
        name: "whose the first key is learned from another key's answer",
        file: DIAL,
        good: "pool.org.is_none() && campaign.spec.org.is_none()",
        bad: "pool.org.is_none()",
    },
    Bug {
        name: "absence in another organisation's list taken for proof",
        file: ORGS,
        good: "find(|(name, _)| name.as_ref() == org)",
        bad: "find(|(name, _)| name.is_none() || name.as_ref() == org)",
    },
    Bug {
        name: "an organisation's campaign dialed with the first key",
        file: ORGS,
        good: "*name)?.vapi.as_ref(),",
        bad: "*name)?.vapi.as_ref().map(|_| &self.vapi),",
    },
    Bug {
        name: "a limit that fell is not followed",
        file: PASS,
        good: "self.adopt_limit && *seen != pool.policy.limit()",
        bad: "self.adopt_limit && *seen > pool.policy.limit()",
    },
    Bug {
        name: "a suspicion that nobody confirms never ends",
        file: UNSEEN,
        good: "        let until = now + spans.believed;",
        bad: "        let until = now + spans.believed * 1000;",
    },
    Bug {
        name: "every delay of a retry is the first one's",
        file: RETRY,
        good: "        let delay = rule.after[nth - 1];",
        bad: "        let delay = rule.after[nth - nth];",
    },
    Bug {
        name: "an outcome's own number of attempts is forgotten",
        file: RETRY,
        good: "            || rule.attempts.is_some_and(|attempts| alike >= attempts.get());",
        bad: "            || rule.attempts.is_some_and(|attempts| alike > 20 * attempts.get());",
    },
    Bug {
        name: "the lowest priority served first",
        file: FAIR,
        good: "        plan.serve_level(*level);",
        bad: "        let last = levels.len() - 1 - levels.iter().position(|other| other == level).unwrap_or_default();\n        levels.iter().nth(last).into_iter().for_each(|level| plan.serve_level(*level));",
    },
    Bug {
        name: "weights ignored",
        file: DISPATCH,
        good: "                    weight: spec.weight,",
        bad: "                    weight: Default::default(),",
    },
    Bug {
        name: "warm leads last",
        file: FAIR,
        good: "callback.into_iter().chain(self.high.then_some(Lane::High)).chain(ordinary)",
        bad: "callback.into_iter().chain(ordinary).chain(self.high.then_some(Lane::High))",
    },
    Bug {
        name: "a warm lead that comes back stands among the others",
        file: QUEUE,
        good: "\"q = if_not_exists(lane, :q)\"",
        bad: "\"q = :q\"",
    },
    Bug {
        name: "a ramp that never falls back",
        file: PACING,
        good: "        if step.nth > 0 && breaks(",
        bad: "        if step.nth > 99 && breaks(",
    },
    Bug {
        name: "a batch forgets what it has begun",
        file: LEDGER,
        good: "\", cmp.#c.b = cmp.#c.b + :n\"",
        bad: "\", cmp.#c.b = :n\"",
    },
    Bug {
        name: "two dispatchers begin the same second's calls of one campaign",
        file: LEDGER,
        good: "\" AND cmp.#c.p = :paced\"",
        bad: "\" AND (cmp.#c.p = :paced OR cmp.#c.p <> :paced)\"",
    },
    Bug {
        name: "the zone of the number taken though the lead names one",
        file: HOURS,
        good: "            (Some(zone), _) => vec![zone.clone()],",
        bad: "            (Some(zone), None) => vec![zone.clone()],
            (Some(_), Some(number)) => zones(number),",
    },
    Bug {
        name: "who may be in several zones called while one of them allows it",
        file: HOURS,
        good: "open.extend(zones.iter().map(|zone| (hours, zone.clone())));",
        bad: "let end = now + HORIZON;
            let first = zones.iter().min_by_key(|zone| hours.opens(now, end, zone).unwrap_or(end));
            open.extend(first.map(|zone| (hours, zone.clone())));",
    },
    Bug {
        name: "a campaign's end ignored",
        file: HOURS,
        good: "spec.end_at.map_or(horizon, |end| end.min(horizon))",
        bad: "spec.end_at.map_or(horizon, |end| end.max(horizon))",
    },
    Bug {
        name: "a retry forgets the zone that the lead named",
        file: LEADS,
        good: "Self { set, remove: \"deadline\".into(),",
        bad: "Self { set, remove: \"deadline, tz\".into(),",
    },
    Bug {
        name: "a person who says no between the question and the dial is called",
        file: PEOPLE,
        good: "String::from(\"attribute_not_exists(no_at) AND \")",
        bad: "String::new()",
    },
    Bug {
        name: "a person is dialed before they are asked",
        file: DIAL,
        good: "        match self.ask_leave(&lead, self.clock.now()).await {",
        bad: "        match Ok::<Leave, TableError>(Leave::Given) {",
    },
    Bug {
        name: "a breaker that never closes",
        file: BREAKER,
        good: "                if opened.good >= PROBES {",
        bad: "                if opened.good >= 1_000 * PROBES {",
    },
    Bug {
        name: "a breaker that opens for good",
        file: BREAKER,
        good: "self.open_until(now + timers.breaker_delay(self.row), now, reason);",
        bad: "self.open_until(now + 10_000 * timers.breaker_delay(self.row), now, reason);",
    },
    Bug {
        name: "an open breaker that stops nobody",
        file: HEALTH,
        good: "BreakerState::Open { .. } => hold(0, Rule::Breaker),",
        bad: "BreakerState::Open { .. } => hold(u32::MAX, Rule::Breaker),",
    },
    Bug {
        name: "the cap falls to nothing",
        file: HEALTH,
        good: "(cap.min(load.held.max(1)) * FALL / 10).max(1);",
        bad: "(cap.min(load.held.max(1)) * FALL / 10).max(0);",
    },
    Bug {
        name: "a lowered cap that holds nobody back",
        file: HEALTH,
        good: "            if cap < load.top {\n                hold(",
        bad: "            if cap > load.top {\n                hold(",
    },
    Bug {
        name: "the cap rises past the policy's",
        file: HEALTH,
        good: "        self.lowered = (lowered.lines < load.top).then_some(lowered);",
        bad: "        self.lowered = Some(lowered);",
    },
    Bug {
        name: "cancel forgets leads that wait for a retry",
        file: CAMPAIGNS,
        good: "            let waiting = table.waiting_leads(&code, self.campaign.lanes, PAGE).await?;",
        bad: "            let due = table.ready_leads(&code, self.campaign.lanes, self.app.clock.now(), 256).await?;
            let waiting: Vec<_> = due.into_iter().map(|lead| lead.next.lead).collect();",
    },
    Bug {
        name: "a pause is seen by the next invocation only",
        file: CAMPAIGNS,
        good: "        Ok(campaign.filter(|campaign| campaign.state == CampaignState::Running))",
        bad: "        Ok(campaign)",
    },
    Bug {
        name: "cancel ends leads that somebody has just claimed",
        file: LEADS,
        good: "\"st = :ready AND (attribute_not_exists(run) OR run <= :run)\"",
        bad: "\"(st = :ready OR st <> :ready) AND (attribute_not_exists(run) OR run <= :run)\"",
    },
    Bug {
        name: "a cancelled campaign's figures are those of the ledger",
        file: CAMPAIGNS,
        good: "        self.app.finish_if_over(&self.campaign, &pool).await?;",
        bad: "        let tally = pool.campaigns.get(&code).cloned().unwrap_or_default();
        let (done, failed) = (tally.done, tally.failed);
        if tally.held == 0 {
            let counted = crate::table::leads::LeadCount { total: done + failed, done, failed };
            if table.finish_campaign(&self.campaign, counted, self.app.clock.now()).await? {
                table.close_campaign(&pool, &code).await?;
            }
        }",
    },
    Bug {
        name: "a finish of the run before ends the rerun",
        file: "functions/headroom/src/table/campaigns.rs",
        good: "            .condition_expression(format!(\"st = :from AND leads = :leads AND {run} AND {promises}\"))",
        bad: "            .condition_expression(format!(\"st = :from AND leads = :leads AND ({run} OR attribute_exists(pk)) AND {promises}\"))",
    },
    Bug {
        name: "a rerun runs before its leads are ready",
        file: "functions/headroom/src/core/life.rs",
        good: "            (Self::Rerun { only }, Finished | Cancelled) => Next::To(Rerunning {",
        bad: "            (Self::Rerun { .. }, Finished | Cancelled) => Next::To(Running),
            (Self::Rerun { only }, Draft) => Next::To(Rerunning {",
    },
    Bug {
        name: "a draft is dialed as it comes",
        file: INTAKE,
        good: "if draft { CampaignState::Draft } else",
        bad: "if draft && bad.len() > 7 { CampaignState::Draft } else",
    },
    Bug {
        name: "a call counted twice by two who tell its end at once",
        file: LEADS,
        good: "String::from(\"claims = :claim AND st IN (:live, :dialing, :unknown)\")",
        bad: "String::from(\"claims = :claim AND (st IN (:live, :dialing, :unknown) OR st = :st)\")",
    },
    Bug {
        name: "a report that comes twice adds its talk twice",
        file: KPI,
        good: "            .condition_expression(\"contains(untold, :call)\")",
        bad: "            .condition_expression(\"contains(untold, :call) OR attribute_exists(n_done)\")",
    },
    Bug {
        name: "a call that was refused for want of a line counts as made",
        file: "functions/headroom/src/core/kpi.rs",
        good: "            (Some(Group::OverLimit), _) => return None,",
        bad: "            (Some(Group::OverLimit), _) => Self::SetupFailure,",
    },
    Bug {
        name: "a call back is dialed before its time",
        file: "functions/headroom/src/core/callback.rs",
        good: "let waits = |counts| (Outcome::Again { due: self.at, counts }, Fate::Stands);",
        bad: "let early = SignedDuration::from_secs(90);\n        let waits = |counts| (Outcome::Again { due: self.at - early, counts }, Fate::Stands);",
    },
    Bug {
        name: "a promise is lost when the report comes after the end is settled",
        file: "functions/headroom/src/flows/callbacks.rs",
        good: "                Some(known) => known == call,",
        bad: "                Some(known) => known == call && lead.lease().is_some(),",
    },
    Bug {
        name: "a wish that is told twice is two promises",
        file: "functions/headroom/src/core/callback.rs",
        good: "        (stands && self.heard.last().is_some_and(|last| last.at == heard.at))",
        bad: "        (stands && self.heard.is_empty())",
    },
    Bug {
        name: "an end that was decided before the promise loses it",
        file: LEADS,
        good: "settling.condition.push_str(\" AND attribute_not_exists(cb)\");",
        bad: "settling.condition.push_str(\" AND attribute_exists(pk)\");",
    },
    Bug {
        name: "whoever meant to call before the promise still does",
        file: "functions/headroom/src/table/callbacks.rs",
        good: "if under_way { seen.claims } else { seen.claims + 1 };",
        bad: "if under_way || seen.claims > 0 { seen.claims } else { seen.claims + 1 };",
    },
    Bug {
        name: "a campaign's other leads go before those who are promised a call",
        file: FAIR,
        good: "callback.into_iter().chain(self.high.then_some(Lane::High)).chain(ordinary)",
        bad: "ordinary.into_iter().chain(self.high.then_some(Lane::High)).chain(callback)",
    },
    Bug {
        name: "a promise is counted as kept however late its call",
        file: "functions/headroom/src/core/callback.rs",
        good: "let in_time = !late.is_negative() && late <= tolerance;",
        bad: "let in_time = !late.is_negative() && late <= tolerance * 1000;",
    },
    Bug {
        name: "a campaign finishes while a lead comes back for its promise",
        file: "functions/headroom/src/table/campaigns.rs",
        good: "        0 => (\"attribute_not_exists(cb_made)\", update),",
        bad: "        0 => (\"attribute_exists(pk)\", update),",
    },
    Bug {
        name: "an end is taken for told before it is on the queue",
        file: ANNOUNCE,
        good: "        let told = self.send_events(&texts).await?;",
        bad: "        for (claim, _) in &ends {
            self.table.lead_told(claim).await?;
        }
        let told = self.send_events(&texts).await?;",
    },
    Bug {
        name: "a batch that SQS took in part is taken for told",
        file: ANNOUNCE,
        good: "            told.extend(sent?.into_iter().map(|place| nth * AT_ONCE + place));",
        bad: "            let few = sent.map(|_| AT_ONCE.min(events.len() - nth * AT_ONCE))?;
            told.extend((0..few).map(|place| nth * AT_ONCE + place));",
    },
    Bug {
        name: "ends of leads that held no line are told to nobody",
        file: LEADS,
        good: "                .update_expression(\"SET st = :failed, reason = :reason, q = :untold REMOVE cb, cb_claim\")
                .expression_attribute_values(\":untold\", untold),
            None => end.update_expression(\"SET st = :failed, reason = :reason REMOVE q, cb, cb_claim\"),
        };
        let sent = end",
        bad: "                .update_expression(\"SET st = :failed, reason = :reason REMOVE q, cb, cb_claim\")
                .set_table_name(untold.as_s().ok().map(|_| self.name.clone())),
            None => end.update_expression(\"SET st = :failed, reason = :reason REMOVE q, cb, cb_claim\"),
        };
        let sent = end",
    },
    Bug {
        name: "a campaign's event that comes while others are told is lost",
        file: "functions/headroom/src/table/events.rs",
        good: "            .condition_expression(\"ev = :told\")",
        bad: "            .condition_expression(\"ev = :told OR attribute_exists(ev)\")",
    },
];

impl Bug {
    /// The file with the bug in it; nothing if what it replaces is not there exactly once.
    pub fn plant(&self, source: &str) -> Option<String> {
        (source.matches(self.good).count() == 1).then(|| source.replacen(self.good, self.bad, 1))
    }
}
