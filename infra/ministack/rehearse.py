"""Deploys the template with its binaries onto ministack, runs a campaign there against the simulated Vapi, and takes
it all down again. In the middle of the campaign the stack is deployed anew with another cap, the webhook loses its
DynamoDB for a while, and the deployment is rolled back.

Usage: rehearse.py [--earlier FOLDER] TEMPLATE BINARIES VAPI_SIM TRANSFORM ...

TEMPLATE: infra/template.yaml. BINARIES: a folder with NAME/bootstrap or NAME for each function. VAPI_SIM: the simulated
Vapi's program. TRANSFORM ...: what turns the template into plain CloudFormation, given TEMPLATE, OUT and CODE.
--earlier: a folder with the template.yaml and the functions of an earlier release. It begins the campaign; then the
dispatcher and the reconciler are today's and the others are not; the deployment in mid-campaign is of today's, and the
rollback goes back to that release, which ends it.

IAM is enforced: each function has what its role allows and nothing else. What holds is said, and the exit code is 0
only if all of it did. Only what this started is ended.
"""

import argparse
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile

from botocore.exceptions import ClientError
from ministack import Ministack, free_port

STACK = "rehearsal"
KEY, SECRET, TOKEN = "rehearsal-key", "rehearsal-secret", "rehearsal-token"
LINES, CAP, HEADROOM = 10, 7, 3
# Callers in an hour.
CALLERS = 300
# What a deployment in mid-campaign lowers the cap to, until it is rolled back.
LOWERED_CAP = 4
# Leads of the campaign, and with two releases, which takes longer.
LEADS, LEADS_OF_TWO = 100, 220
# A pass of the minute, and what it began.
A_PASS = 70
CAMPAIGN = "rehearsal"
# The C library of Lambda's Amazon Linux 2023.
GLIBC = (2, 34)
MACHINES = {62: "x86_64", 183: "arm64"}
# A campaign of minutes, with amends for what is lost and a machine that has more to do.
LONGEST = 900
# How long Vapi waits for the answer to an assistant-request, in seconds.
PATIENCE = 7.5
ASSISTANT = "0b5d7c1e-0000-4000-8000-00000000b001"
FUNCTIONS = ("webhook", "dispatcher", "reconciler", "backfill", "console", "announcer")
# Those that are replaced first, where two releases work beside each other.
REPLACED_FIRST = ("dispatcher", "reconciler")
# The rule and the queue of whoever listens to the events.
LISTENER = "listener"


class Findings:
    """What was looked at, and what of it did not hold."""

    def __init__(self):
        self.broken = []

    def check(self, held, words):
        print(f"  {'ok ' if held else 'NO '} {words}", flush=True)
        if not held:
            self.broken.append(words)


class Steps:
    """Prints how long each step took."""

    def __init__(self):
        self.began = self.last = time.monotonic()

    def done(self, name):
        now = time.monotonic()
        print(f"{name}: {now - self.last:.1f} s", flush=True)
        self.last = now


def glibc_of(program):
    """The newest version of the C library that a program asks for."""
    versions = re.findall(rb"GLIBC_(\d+)\.(\d+)", program)
    return max((int(major), int(minor)) for major, minor in versions)


def packages(binaries, findings):
    """The zip of each function, by its name."""
    zips = {}
    for name in FUNCTIONS:
        path = os.path.join(binaries, name)
        with open(os.path.join(path, "bootstrap") if os.path.isdir(path) else path, "rb") as file:
            program = file.read()
        machine, version = MACHINES.get(struct.unpack_from("<H", program, 18)[0]), glibc_of(program)
        findings.check(
            machine == "x86_64" and version <= GLIBC,
            f"{name} is for {machine} and asks for glibc {version[0]}.{version[1]}, {len(program) / 1e6:.1f} MB",
        )
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            entry = zipfile.ZipInfo("bootstrap")
            entry.external_attr = 0o755 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, program)
        zips[name] = packed.getvalue()
    return zips


def statements(policy):
    """Those of a policy, those under a condition as well."""
    for statement in policy["Statement"]:
        chosen = statement.get("Fn::If", [None, statement])[1:]
        yield from (part for part in chosen if "Action" in part)


def loosen(stack):
    """Asked for several parameters at once, ministack looks for a grant on all there are; AWS judges each by its name. To
    send several messages at once is another action to it; to AWS it is the one of sending. Of an alarm on an expression
    it knows nothing: there, it is one on the metric that the expression is made of."""
    for resource in stack["Resources"].values():
        for policy in resource.get("Properties", {}).get("Policies", []) if resource["Type"] == "AWS::IAM::Role" else []:
            for statement in statements(policy["PolicyDocument"]):
                if statement.get("Action") == "ssm:GetParameters":
                    statement["Resource"] = "*"
                if statement.get("Action") == "sqs:SendMessage":
                    statement["Action"] = ["sqs:SendMessage", "sqs:SendMessageBatch"]
        if resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]:
            parts = resource["Properties"].pop("Metrics")
            measured = next(part["MetricStat"] for part in parts if "MetricStat" in part)
            resource["Properties"] |= {
                **measured["Metric"], "Period": measured["Period"], "Statistic": measured["Stat"]
            }


def upload(aws, release, template, zips, transform):
    """The URL of a release's template, which speaks of the code beside it."""
    s3 = aws.client("s3")
    for name, packed in zips.items():
        s3.put_object(Bucket="code", Key=f"{release}/{name}.zip", Body=packed)
    plain = os.path.join(aws.folder.name, f"{release}.json")
    subprocess.run([*transform, template, plain, f"s3://code/{release}/{{name}}.zip"], check=True)
    with open(plain, encoding="utf-8") as file:
        stack = json.load(file)
    loosen(stack)
    s3.put_object(Bucket="code", Key=f"{release}/template.json", Body=json.dumps(stack).encode())
    return f"{aws.url}/code/{release}/template.json"


def deploy(aws, release, sim_url, bus):
    """The stack's outputs."""
    ssm, stacks = aws.client("ssm"), aws.client("cloudformation")
    for name, value in [("vapi-key", KEY), ("webhook-secrets", SECRET), ("admin-token", TOKEN)]:
        ssm.put_parameter(Name=f"/headroom/{name}", Value=value, Type="SecureString")
    stacks.create_stack(
        StackName=STACK,
        TemplateURL=release,
        Capabilities=["CAPABILITY_IAM"],
        Parameters=parameters(sim_url, bus, CAP),
    )
    stack = deployed(stacks, "CREATE")
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def listen(aws):
    """Has all events of Headroom on the account's bus put into a queue. Returns the bus's ARN and the queue's URL."""
    sqs, events = aws.client("sqs"), aws.client("events")
    queue = sqs.create_queue(QueueName=LISTENER)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name=LISTENER, EventPattern=json.dumps({"source": ["headroom"]}), State="ENABLED")
    events.put_targets(Rule=LISTENER, Targets=[{"Id": LISTENER, "Arn": arn}])
    return events.describe_event_bus(Name="default")["Arn"], queue


def heard(aws, queue, size, findings):
    """The events that were told: each lead's end, and the campaign's beginning and end."""
    sqs, told = aws.client("sqs"), []
    # The last ones are on their way through two queues and a function.
    until = time.monotonic() + 60
    while time.monotonic() < until and "campaign.finished" not in (event["detail-type"] for event in told):
        while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            told += [json.loads(message["Body"]) for message in messages]
            for message in messages:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        time.sleep(0.5)
    leads = {event["detail"]["lead"] for event in told if event["detail-type"] == "lead.ended"}
    names = {event["detail-type"] for event in told}
    findings.check(
        len(leads) == size and {"campaign.started", "campaign.finished"} <= names,
        f"{len(told)} events were told: the ends of {len(leads)} leads, {', '.join(sorted(names))}",
    )
    events = aws.client("events")
    events.remove_targets(Rule=LISTENER, Ids=[LISTENER])
    events.delete_rule(Name=LISTENER)
    sqs.delete_queue(QueueUrl=queue)


def parameters(sim_url, bus, cap):
    """The stack's parameters, all but the defaults."""
    given = {
        "VapiUrl": sim_url,
        "LineLimit": str(LINES),
        "OutboundCap": str(cap),
        "Headroom": str(HEADROOM),
        "InboundAssistants": f"*={ASSISTANT}",
        "EventsBusArn": bus,
        # The simulated people live in no zone.
        "CallingHours": "none",
        "TableDeletionProtection": "false",
    }
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()]


def deployed(stacks, how):
    """The stack, once its creation or its update is complete."""
    while True:
        stack = stacks.describe_stacks(StackName=STACK)["Stacks"][0]
        if stack["StackStatus"] == f"{how}_COMPLETE":
            return stack
        if not stack["StackStatus"].startswith(f"{how}_") or not stack["StackStatus"].endswith("IN_PROGRESS"):
            events = stacks.describe_stack_events(StackName=STACK)["StackEvents"]
            reasons = [e for e in events if e["ResourceStatus"].endswith("FAILED")]
            raise SystemExit(f"the stack is {stack['StackStatus']}: {json.dumps(reasons, default=str, indent=1)}")
        time.sleep(0.2)


def redeploy(aws, release, sim_url, bus, cap):
    """Deploys a release with another cap: all functions start anew, in the midst of what they are doing."""
    stacks = aws.client("cloudformation")
    stacks.update_stack(
        StackName=STACK,
        TemplateURL=release,
        Capabilities=["CAPABILITY_IAM"],
        Parameters=parameters(sim_url, bus, cap),
    )
    deployed(stacks, "UPDATE")


def asked(url, **headers):
    """An answer's JSON, or None if there is none this time."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return None


def sent(method, url, body=None, **headers):
    """The status of an answer, its text, and after how many seconds it came."""
    data = body if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    began = time.monotonic()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data=data, headers=headers, method=method), timeout=60
        ) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    return status, text, time.monotonic() - began


def call_in(sim_url, callers):
    """Has so many people an hour call in from now on."""
    sent("PUT", f"{sim_url}/sim/traffic", {"inboundPerHour": callers})


def messages(size):
    """The campaign of so many leads, in two messages, one of which comes twice; and one that nobody can read."""
    campaign = {
        "id": CAMPAIGN,
        "assistantId": ASSISTANT,
        "phoneNumberId": "0b5d7c1e-0000-4000-8000-00000000c001",
        "agent": "renewals",
        "retry": {"maxAttempts": 2, "noAnswerAfter": "5s", "busyAfter": "5s"},
    }
    leads = [{"id": f"lead-{n}", "number": f"+1555555{n:04}"} for n in range(size)]
    halves = [json.dumps({"campaign": campaign, "leads": half}) for half in (leads[::2], leads[1::2])]
    return [*halves, halves[0], "no campaign at all"]


def logs(aws, function):
    """The lines that a function logged."""
    client, group = aws.client("logs"), f"/aws/lambda/{STACK}-{function}"
    pages = client.get_paginator("filter_log_events").paginate(logGroupName=group)
    return [event["message"] for page in pages for event in page["events"]]


def depth(aws, url):
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(found.get(name, 0)) for name in names)


class Campaign:
    """How the campaign stands, as the console tells it from time to time."""

    def __init__(self, endpoint, size):
        self.url, self.size = f"{endpoint}/status", size
        self.until = time.monotonic() + LONGEST * size / LEADS
        self.status, self.leads, self.finished, self.lines, self.told = None, {}, False, None, 0.0

    def look(self):
        self.status = asked(self.url, authorization=f"Bearer {TOKEN}") or self.status
        campaigns = {campaign["id"]: campaign for campaign in (self.status or {}).get("campaigns", [])}
        self.leads = campaigns.get(CAMPAIGN, {}).get("leads", {})
        self.finished = campaigns.get(CAMPAIGN, {}).get("finished", False)
        self.lines = self.status and self.status["pools"][0]["total"]
        return self

    @property
    def over(self):
        """Leads that have their outcome."""
        return self.leads.get("done", 0) + self.leads.get("failed", 0)

    @property
    def cap(self):
        return self.status and self.status["pools"][0]["cap"]

    def reaches(self, what, seconds=float("inf")):
        """Waits until `what` holds of the campaign. Whether it came to that in time."""
        until = min(self.until, time.monotonic() + seconds)
        # A stack that never says how it is will not say so later.
        silent = time.monotonic() + 60
        while time.monotonic() < until and (self.status or time.monotonic() < silent):
            time.sleep(1)
            held = what(self.look())
            if time.monotonic() - self.told > 15 or held:
                self.told = time.monotonic()
                print(f"  leads {json.dumps(self.leads)}, lines {self.lines}, cap {self.cap}", flush=True)
            if held:
                return True
        return False


def beside(aws, campaign, findings, steps):
    """Today's dispatcher and reconciler on one table with the other functions of the earlier release, for a while."""
    functions, over = aws.client("lambda"), campaign.look().over
    for name in REPLACED_FIRST:
        functions.update_function_code(
            FunctionName=f"{STACK}-{name}", S3Bucket="code", S3Key=f"today/{name}.zip"
        )
    wanted, until = over + campaign.size // 10, time.monotonic() + A_PASS
    campaign.reaches(lambda now: time.monotonic() > until and now.over >= wanted or now.finished, 2 * A_PASS)
    findings.check(
        wanted <= campaign.over < campaign.size,
        f"beside the earlier release's other functions, today's {' and '.join(REPLACED_FIRST)} brought "
        f"{campaign.over - over} leads to their end",
    )
    steps.done("two releases beside each other")


def deployment(aws, release, sim_url, bus, campaign, cap, findings, steps, name):
    """Deploys a release with another cap in mid-campaign."""
    live = (asked(f"{sim_url}/sim/truth") or {}).get("live", {}).get("outbound", 0)
    over = campaign.look().over
    redeploy(aws, release, sim_url, bus, cap)
    steps.done(name)
    followed = campaign.reaches(lambda now: now.cap == cap or now.finished, 150) and campaign.cap == cap
    findings.check(
        followed and over < campaign.size,
        f"{name}: {over} of {campaign.size} leads were over and {live} of them in calls, the cap is {campaign.cap}",
    )
    steps.done(f"until the cap is {cap}")


def outage(aws, endpoint, sim_url, campaign, findings, steps):
    """The webhook's DynamoDB is away for some time. Callers are answered; what else is told is refused, to be told again."""
    functions, name = aws.client("lambda"), f"{STACK}-webhook"
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    gone = {**variables, "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{free_port()}"}
    over = campaign.look().over
    # Where AWS lets a function that is changed come to its end, ministack kills it, with whomever it is answering.
    call_in(sim_url, 0)
    time.sleep(PATIENCE)
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": gone})
    # A caller whom the simulated Vapi knows, and one whose answer is looked at here. Both find functions that start anew.
    before = asked(f"{sim_url}/sim/truth")
    sent("POST", f"{sim_url}/sim/ring-in")
    caller = {"id": "019d2ad0-7c40-7aac-9377-0000000000c1", "type": "inboundPhoneCall"}
    said = []
    for message in (
        {"type": "assistant-request", "call": caller},
        {"type": "status-update", "status": "in-progress", "call": caller},
        {"type": "assistant-request", "call": caller},
    ):
        said.append(sent("POST", f"{endpoint}/vapi", {"message": message}, x_vapi_secret=SECRET))
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
    call_in(sim_url, CALLERS)
    for what, (status, text, seconds) in (("first, with its start,", said[0]), ("next", said[2])):
        findings.check(
            status == 200 and json.loads(text).get("assistantId") == ASSISTANT and seconds < PATIENCE,
            f"without DynamoDB the {what} caller was answered {status} after {seconds:.1f} s, of {PATIENCE} that Vapi waits",
        )
    findings.check(said[1][0] >= 500, f"without DynamoDB a call's beginning was answered {said[1][0]}")
    truth = asked(f"{sim_url}/sim/truth")
    turned_away = truth["refusedByUs"] - before["refusedByUs"]
    findings.check(
        truth["assistantRequests"] > before["assistantRequests"] and turned_away == 0 and over < campaign.size,
        f"{truth['assistantRequests'] - before['assistantRequests']} callers asked meanwhile, {turned_away} turned away; "
        f"{over} of {campaign.size} leads were over",
    )
    noted = sum("caller answered without a line on the ledger" in line for line in logs(aws, "webhook"))
    findings.check(noted >= 2, f"{noted} times that is an error in the log")
    # What is not to be found at Vapi is no call, but its end can be told.
    ended = {"type": "status-update", "status": "ended", "endedReason": "customer-ended-call", "call": caller}
    status, _, _ = sent("POST", f"{endpoint}/vapi", {"message": ended}, x_vapi_secret=SECRET)
    findings.check(status == 200, f"with DynamoDB back, the call's end was answered {status}")
    steps.done("DynamoDB away")


def run(aws, outputs, endpoint, sim_url, bus, releases, size, findings, steps):
    """Sends a campaign of so many leads and waits for its end, and for the poison in the dead-letter queue; on the way
    there, what a stack meets in its life. `releases`: the one that is deployed, and the one that comes after it."""
    earlier, today = releases
    sqs = aws.client("sqs")
    queue, dead = outputs["CampaignQueueUrl"], outputs["CampaignDeadQueueUrl"]
    # Five deliveries of what cannot be read would take half an hour.
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "10"})
    for body in messages(size):
        sqs.send_message(QueueUrl=queue, MessageBody=body)
    campaign = Campaign(endpoint, size)
    findings.check(campaign.reaches(lambda now: now.over >= size // 10), "the campaign runs")
    steps.done("campaign's beginning")
    if earlier != today:
        beside(aws, campaign, findings, steps)
    deployment(aws, today, sim_url, bus, campaign, LOWERED_CAP, findings, steps, "deployment in mid-campaign")
    outage(aws, endpoint, sim_url, campaign, findings, steps)
    deployment(aws, earlier, sim_url, bus, campaign, CAP, findings, steps, "rollback in mid-campaign")
    campaign.reaches(lambda now: now.finished)
    # Callers go on ringing in until they are asked not to.
    call_in(sim_url, 0)
    campaign.reaches(lambda now: now.lines == 0 and depth(aws, dead) == 1 and depth(aws, queue) == 0)
    steps.done("campaign's end")
    finished, lines, leads = campaign.finished, campaign.lines, campaign.leads

    truth = asked(f"{sim_url}/sim/truth")
    done, failed = leads.get("done", 0), leads.get("failed", 0)
    twice = [name for name, times in truth["dialsByName"].items() if times > 1]
    outbound = [call for call in truth["calls"] if call["kind"] == "outbound" and call["heldLine"]]
    ended_unheard = [call for call in truth["calls"] if call["heldLine"] and call["endedWebhookAtMs"] is None]
    findings.check(finished and done + failed == size, f"{done} of {size} leads reached, {failed} not, none left")
    findings.check(len(truth["dials"]) == size, f"{len(truth['dials'])} people were called, {len(outbound)} times")
    findings.check(not twice, f"{len(twice)} attempts rang twice")
    findings.check(
        truth["peakOutbound"] <= CAP, f"{truth['peakOutbound']} lines at most for outbound, of {CAP} it may have"
    )
    findings.check(lines == 0, f"{lines} lines held in the ledger once all was over")
    # More callers at once than the headroom are load, no fault.
    findings.check(
        truth["callers"] > 0,
        f"{truth['callers']} callers, {truth['blockedInboundWhileOutboundLive']} blocked while outbound held lines",
    )
    findings.check(
        len(ended_unheard) > 0, f"{len(ended_unheard)} calls ended without a webhook, for the minute pass to find"
    )
    dead_bodies = [m["Body"] for m in sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10).get("Messages", [])]
    findings.check(
        dead_bodies == ["no campaign at all"], f"{len(dead_bodies)} dead letters, the message that nobody can read"
    )
    wake_dead = sqs.get_queue_url(QueueName=f"{STACK}-wake-dead")["QueueUrl"]
    findings.check(depth(aws, wake_dead) == 0, f"{depth(aws, wake_dead)} dead wake-ups")
    ledger = aws.client("dynamodb").get_item(
        TableName=outputs["TableName"], Key={"pk": {"S": "POOL#main"}, "sk": {"S": "LEDGER#0"}}, ConsistentRead=True
    ).get("Item", {"lns": {"M": {}}, "ntot": {"N": "no"}})
    findings.check(
        not ledger["lns"]["M"] and ledger["ntot"]["N"] == "0",
        f"the ledger's item counts {ledger['ntot']['N']} lines and names {len(ledger['lns']['M'])}",
    )


def hurry(aws):
    """Lets the hourly schedule fire each minute. Its target and the right to start it stay those of the template."""
    events = aws.client("events")
    for rule in events.list_rules()["Rules"]:
        if rule.get("ScheduleExpression") == "rate(1 hour)":
            events.put_rule(Name=rule["Name"], ScheduleExpression="rate(1 minute)", State="ENABLED")


def schedules(aws, findings):
    """Both schedules started their function."""
    passes = sum("ledger compared with Vapi" in line for line in logs(aws, "reconciler"))
    findings.check(passes > 0, f"{passes} passes by the schedule of the minute")
    fills = sum("backfill done" in line for line in logs(aws, "backfill"))
    findings.check(fills > 0, f"{fills} backfills by the schedule of the hour, hurried to a minute")


def refusals(aws, findings):
    """No role is too small: nothing that a function asked for was refused."""
    for function in FUNCTIONS:
        lines = logs(aws, function)
        refused = [line for line in lines if re.search(r"AccessDenied|not authorized", line)]
        findings.check(
            lines and not refused, f"{function} logged {len(lines)} lines, {len(refused)} of a refusal by IAM"
        )
        for line in refused[:2]:
            print(f"      {line[:400]}")


def tear_down(aws, outputs, findings):
    """Deletes the stack, and then the table, which outlives it."""
    stacks, dynamodb = aws.client("cloudformation"), aws.client("dynamodb")
    stacks.delete_stack(StackName=STACK)
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if stacks.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"] != "DELETE_IN_PROGRESS":
                break
        except ClientError:
            break
        time.sleep(0.2)
    tables = dynamodb.list_tables()["TableNames"]
    findings.check(outputs["TableName"] in tables, "the table outlived the stack")
    # For ministack the parameter's "false" is a text and thus true.
    dynamodb.update_table(TableName=outputs["TableName"], DeletionProtectionEnabled=False)
    dynamodb.delete_table(TableName=outputs["TableName"])
    functions = aws.client("lambda").list_functions()["Functions"]
    queues = aws.client("sqs").list_queues().get("QueueUrls", [])
    rules = aws.client("events").list_rules()["Rules"]
    roles = [r for r in aws.client("iam").list_roles()["Roles"] if r["RoleName"].startswith(STACK)]
    left = [functions, queues, rules, roles, dynamodb.list_tables()["TableNames"]]
    findings.check(not any(left), f"{sum(map(len, left))} functions, queues, rules, roles and tables left")


def main(given):
    # Whoever ends this ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    findings, steps = Findings(), Steps()
    zips = packages(given.binaries, findings)
    before = packages(given.earlier, findings) if given.earlier else None
    size = LEADS_OF_TWO if before else LEADS
    steps.done("packages")
    with Ministack(AUTH="true") as aws:
        port = free_port()
        sim_url = f"http://127.0.0.1:{port}"
        steps.done("ministack")
        bus, listener = listen(aws)
        aws.client("s3").create_bucket(Bucket="code")
        earlier = today = upload(aws, "today", given.template, zips, given.transform)
        if before:
            template = os.path.join(given.earlier, "template.yaml")
            earlier = upload(aws, "earlier", template, before, given.transform)
        outputs = deploy(aws, earlier, sim_url, bus)
        api = outputs["ConsoleUrl"].removeprefix("http://").split(".")[0]
        # The host that the output names is one that no resolver here knows.
        endpoint = f"{aws.url}/_aws/execute-api/{api}"
        steps.done("deployment")
        hurry(aws)
        sim = subprocess.Popen(
            [
                given.vapi_sim, "--listen", f"127.0.0.1:{port}", "--lines", str(LINES), "--api-key", KEY,
                "--webhook", f"{endpoint}/vapi", "--webhook-secret", SECRET, "--webhook-lost", "0.1",
                "--ring-seconds", "1,3", "--talk-seconds-mean", "5",
                "--inbound-per-hour", str(CALLERS), "--inbound-talk-seconds-mean", "5", "--ask-assistant",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )
        try:
            run(aws, outputs, endpoint, sim_url, bus, (earlier, today), size, findings, steps)
            heard(aws, listener, size, findings)
            schedules(aws, findings)
            refusals(aws, findings)
            steps.done("schedules and logs")
        finally:
            sim.send_signal(signal.SIGINT)
            try:
                sim.wait(20)
            except subprocess.TimeoutExpired:
                sim.kill()
                sim.wait()
        tear_down(aws, outputs, findings)
        if findings.broken:
            print(f"the end of what ministack logged:\n{aws.log()[-4000:]}")
    steps.done("tear-down")
    print(f"{len(findings.broken)} of what was to hold did not; {time.monotonic() - steps.began:.0f} s in all")
    return 1 if findings.broken else 0


def given():
    """What the command line gives."""
    parser = argparse.ArgumentParser(description="Rehearses a deployment; see the beginning of this file.")
    parser.add_argument("--earlier", metavar="FOLDER")
    parser.add_argument("template")
    parser.add_argument("binaries")
    parser.add_argument("vapi_sim")
    parser.add_argument("transform", nargs=argparse.REMAINDER)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(given()))
