"""Deploys the template with its binaries onto ministack, runs a campaign there against the simulated Vapi, and takes
it all down again.

Usage: rehearse.py TEMPLATE BINARIES VAPI_SIM TRANSFORM ...

TEMPLATE: infra/template.yaml. BINARIES: a folder with NAME/bootstrap for each function. VAPI_SIM: the simulated
Vapi's program. TRANSFORM ...: what turns the template into plain CloudFormation, given TEMPLATE, OUT and CODE.

IAM is enforced: each function has what its role allows and nothing else. What holds is said, and the exit code is 0
only if all of it did. Only what this started is ended.
"""

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
LEADS = 40
CAMPAIGN = "rehearsal"
# The C library of Lambda's Amazon Linux 2023.
GLIBC = (2, 34)
MACHINES = {62: "x86_64", 183: "arm64"}
# A campaign of a minute, with amends for what is lost and a machine that has more to do.
LONGEST = 420


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
    for name in sorted(os.listdir(binaries)):
        path = os.path.join(binaries, name, "bootstrap")
        if not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
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


def loosen(stack):
    """Asked for several parameters at once, ministack looks for a grant on all there are; AWS judges each by its name."""
    for resource in stack["Resources"].values():
        for policy in resource.get("Properties", {}).get("Policies", []) if resource["Type"] == "AWS::IAM::Role" else []:
            for statement in policy["PolicyDocument"]["Statement"]:
                if statement.get("Action") == "ssm:GetParameters":
                    statement["Resource"] = "*"


def deploy(aws, template, zips, transform, sim_url):
    """The stack's outputs."""
    ssm, s3, stacks = aws.client("ssm"), aws.client("s3"), aws.client("cloudformation")
    for name, value in [("vapi-key", KEY), ("webhook-secrets", SECRET), ("admin-token", TOKEN)]:
        ssm.put_parameter(Name=f"/headroom/{name}", Value=value, Type="SecureString")
    s3.create_bucket(Bucket="code")
    for name, packed in zips.items():
        s3.put_object(Bucket="code", Key=f"{name}.zip", Body=packed)
    plain = os.path.join(aws.folder.name, "template.json")
    subprocess.run([*transform, template, plain, "s3://code/{name}.zip"], check=True)
    with open(plain, encoding="utf-8") as file:
        stack = json.load(file)
    loosen(stack)
    s3.put_object(Bucket="code", Key="template.json", Body=json.dumps(stack).encode())
    parameters = {
        "VapiUrl": sim_url,
        "LineLimit": str(LINES),
        "OutboundCap": str(CAP),
        "Headroom": str(HEADROOM),
        "InboundAssistants": "*=0b5d7c1e-0000-4000-8000-00000000b001",
        # The simulated people live in no zone.
        "CallingHours": "none",
        "TableDeletionProtection": "false",
    }
    stacks.create_stack(
        StackName=STACK,
        TemplateURL=f"{aws.url}/code/template.json",
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
    )
    while True:
        stack = stacks.describe_stacks(StackName=STACK)["Stacks"][0]
        if stack["StackStatus"] == "CREATE_COMPLETE":
            return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        if stack["StackStatus"] != "CREATE_IN_PROGRESS":
            events = stacks.describe_stack_events(StackName=STACK)["StackEvents"]
            reasons = [e for e in events if e["ResourceStatus"].endswith("FAILED")]
            raise SystemExit(f"the stack is {stack['StackStatus']}: {json.dumps(reasons, default=str, indent=1)}")
        time.sleep(0.2)


def asked(url, **headers):
    """An answer's JSON, or None if there is none this time."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return None


def messages():
    """The campaign, in two messages, one of which comes twice; and one that nobody can read."""
    campaign = {
        "id": CAMPAIGN,
        "assistantId": "0b5d7c1e-0000-4000-8000-00000000b001",
        "phoneNumberId": "0b5d7c1e-0000-4000-8000-00000000c001",
        "agent": "renewals",
        "retry": {"maxAttempts": 2, "noAnswerAfter": "5s", "busyAfter": "5s"},
    }
    leads = [{"id": f"lead-{n}", "number": f"+1555555{n:04}"} for n in range(LEADS)]
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


def run(aws, outputs, endpoint, sim_url, findings, steps):
    """Sends the campaign and waits for its end, and for the poison in the dead-letter queue."""
    sqs = aws.client("sqs")
    queue, dead = outputs["CampaignQueueUrl"], outputs["CampaignDeadQueueUrl"]
    # Five deliveries of what cannot be read would take half an hour.
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "10"})
    for body in messages():
        sqs.send_message(QueueUrl=queue, MessageBody=body)
    until = time.monotonic() + LONGEST
    status, lines, over, told = None, None, False, 0.0
    # A stack that never says how it is will not say so later.
    silent = time.monotonic() + 60
    while time.monotonic() < until and not over and (status or time.monotonic() < silent):
        time.sleep(1)
        status = asked(f"{endpoint}/status", authorization=f"Bearer {TOKEN}") or status
        campaigns = {campaign["id"]: campaign for campaign in (status or {}).get("campaigns", [])}
        leads = campaigns.get(CAMPAIGN, {}).get("leads", {})
        finished = campaigns.get(CAMPAIGN, {}).get("finished", False)
        lines = status and status["pools"][0]["total"]
        if finished:
            # Callers go on ringing in until they are asked not to.
            quiet = urllib.request.Request(
                f"{sim_url}/sim/traffic",
                data=b'{"inboundPerHour": 0}',
                headers={"content-type": "application/json"},
                method="PUT",
            )
            urllib.request.urlopen(quiet, timeout=60).close()
        over = finished and lines == 0 and depth(aws, dead) == 1 and depth(aws, queue) == 0
        if time.monotonic() - told > 15 or over:
            told = time.monotonic()
            print(f"  leads {json.dumps(leads)}, lines {lines}, dead letters {depth(aws, dead)}", flush=True)
    steps.done("campaign")

    truth = asked(f"{sim_url}/sim/truth")
    done, failed = leads.get("done", 0), leads.get("failed", 0)
    twice = [name for name, times in truth["dialsByName"].items() if times > 1]
    outbound = [call for call in truth["calls"] if call["kind"] == "outbound" and call["heldLine"]]
    ended_unheard = [call for call in truth["calls"] if call["heldLine"] and call["endedWebhookAtMs"] is None]
    findings.check(finished and done + failed == LEADS, f"{done} of {LEADS} leads reached, {failed} not, none left")
    findings.check(len(truth["dials"]) == LEADS, f"{len(truth['dials'])} people were called, {len(outbound)} times")
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


def schedules(aws, findings):
    """The minute pass ran by its schedule. The hourly one is started by hand, as its schedule would."""
    passes = sum("ledger compared with Vapi" in line for line in logs(aws, "reconciler"))
    findings.check(passes > 0, f"{passes} passes by the schedule of the minute")
    started = aws.client("lambda").invoke(FunctionName=f"{STACK}-backfill", Payload=b"{}")
    answer = started["Payload"].read()
    findings.check("FunctionError" not in started, f"the hourly backfill ran: {answer[:200].decode()}")


def refusals(aws, findings):
    """No role is too small: nothing that a function asked for was refused."""
    for function in ("webhook", "dispatcher", "reconciler", "backfill", "console"):
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


def main(template, binaries, vapi_sim, *transform):
    findings, steps = Findings(), Steps()
    zips = packages(binaries, findings)
    steps.done("packages")
    with Ministack(AUTH="true") as aws:
        port = free_port()
        sim_url = f"http://127.0.0.1:{port}"
        steps.done("ministack")
        outputs = deploy(aws, template, zips, transform, sim_url)
        api = outputs["ConsoleUrl"].removeprefix("http://").split(".")[0]
        # The host that the output names is one that no resolver here knows.
        endpoint = f"{aws.url}/_aws/execute-api/{api}"
        steps.done("deployment")
        sim = subprocess.Popen(
            [
                vapi_sim, "--listen", f"127.0.0.1:{port}", "--lines", str(LINES), "--api-key", KEY,
                "--webhook", f"{endpoint}/vapi", "--webhook-secret", SECRET, "--webhook-lost", "0.1",
                "--ring-seconds", "1,3", "--talk-seconds-mean", "5",
                "--inbound-per-hour", "300", "--inbound-talk-seconds-mean", "5", "--ask-assistant",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )
        try:
            run(aws, outputs, endpoint, sim_url, findings, steps)
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


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
