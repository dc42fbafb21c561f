"""infra/deploy against an AWS CLI, a SAM CLI and a cargo that only remember what they were asked for.

What it asks for, what it makes by itself, and that no secret stands on a command line. Whether AWS takes it is not seen here.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEY = "the-key-of-vapi"
# Each call is a line of the file `calls`; what there is, in `state`.
STUB = '''#!{python}
import json, os, sys
folder, program, said = {folder!r}, os.path.basename(sys.argv[0]), sys.argv[1:]
with open(os.path.join(folder, "calls"), "a") as calls:
    calls.write(json.dumps([program, *said]) + "\\n")
with open(os.path.join(folder, "state")) as file:
    state = json.load(file)

def given(name):
    return said[said.index(name) + 1]

def fail(words):
    sys.exit("An error occurred " + words)

if program == "sam":
    state["stack"] = given("--stack-name")
elif said[:2] == ["sts", "get-caller-identity"]:
    print("123456789012")
elif said[:2] == ["lambda", "get-account-settings"]:
    print(state["concurrency"])
elif said[:2] == ["cloudformation", "describe-stacks"]:
    if state["stack"] != given("--stack-name"):
        fail("(ValidationError): Stack with id " + given("--stack-name") + " does not exist")
    if "Outputs" in given("--query"):
        print("https://example.com/vapi")
    else:
        for name, value in state["parameters"].items():
            print(name + "\\t" + value)
elif said[:2] == ["ssm", "get-parameter"]:
    if state.get("denied"):
        fail("(AccessDeniedException) when calling the GetParameter operation")
    if given("--name") not in state["secrets"]:
        fail("(ParameterNotFound) when calling the GetParameter operation")
    print(given("--name"))
elif said[:2] == ["ssm", "put-parameter"]:
    with open(given("--cli-input-json").removeprefix("file://")) as file:
        secret = json.load(file)
    state["secrets"][secret["Name"]] = [secret["Type"], secret["Value"]]
with open(os.path.join(folder, "state"), "w") as file:
    json.dump(state, file)
'''


class Deploying(unittest.TestCase):
    def setUp(self):
        held = tempfile.TemporaryDirectory(prefix="deploy-")
        self.addCleanup(held.cleanup)
        self.folder = Path(held.name)
        for program in ("aws", "sam", "cargo"):
            stub = self.folder / "bin" / program
            stub.parent.mkdir(exist_ok=True)
            stub.write_text(STUB.format(python=sys.executable, folder=str(self.folder)), "utf-8")
            stub.chmod(0o755)
        # cargo-lambda as if it were installed.
        tools = self.folder / "target" / "infra" / "cargo-lambda"
        tools.mkdir(parents=True)
        tools.joinpath("installed.txt").write_bytes(ROOT.joinpath("infra/cargo-lambda/requirements.txt").read_bytes())
        self.there(stack=None, concurrency=1000, parameters={}, secrets={})

    def there(self, **state):
        self.folder.joinpath("state").write_text(json.dumps(state), "utf-8")
        self.folder.joinpath("calls").write_text("", "utf-8")

    def deploy(self, *said, key=KEY):
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HEADROOM_")},
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "CARGO_TARGET_DIR": str(self.folder / "target"),
            **({"HEADROOM_VAPI_KEY": key} if key else {}),
        }
        return subprocess.run(
            [ROOT / "infra" / "deploy", *said], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )

    @property
    def secrets(self):
        return json.loads(self.folder.joinpath("state").read_text("utf-8"))["secrets"]

    def calls(self, program):
        lines = self.folder.joinpath("calls").read_text("utf-8").splitlines()
        return [call[1:] for call in map(json.loads, lines) if call[0] == program]

    def overrides(self):
        (said,) = self.calls("sam")
        return said[said.index("--parameter-overrides") + 1 :] if "--parameter-overrides" in said else []

    def test_the_first_time_the_key_is_all_it_needs(self):
        done = self.deploy()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.secrets["/headroom/vapi-key"], ["SecureString", KEY])
        made = [self.secrets[f"/headroom/{name}"] for name in ("webhook-secrets", "admin-token")]
        for kind, value in made:
            self.assertEqual((kind, len(value)), ("SecureString", 64))
        self.assertNotEqual(made[0], made[1])
        self.assertEqual(len(self.secrets), 3)
        self.assertEqual(self.overrides(), [])
        (build,) = self.calls("cargo")
        functions = {part.removeprefix("-p=") for part in build if part.startswith("-p=")}
        self.assertEqual(functions, {"webhook", "dispatcher", "reconciler", "backfill", "console", "announcer"})
        everything = self.folder.joinpath("calls").read_text("utf-8") + done.stdout + done.stderr
        for secret in (KEY, made[0][1], made[1][1]):
            self.assertNotIn(secret, everything)

    def test_the_second_time_secrets_and_parameters_stay(self):
        secrets = {f"/headroom/{name}": ["SecureString", name] for name in ("vapi-key", "webhook-secrets", "admin-token")}
        self.there(stack="headroom", concurrency=10, parameters={"SmallConcurrency": "false"}, secrets=secrets)
        done = self.deploy(key=None)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.secrets, secrets)
        self.assertEqual(self.overrides(), [])

    def test_a_small_account_leaves_room_for_webhooks(self):
        self.there(stack=None, concurrency=10, parameters={}, secrets={})
        self.assertEqual(self.deploy().returncode, 0)
        self.assertEqual(self.overrides(), ["SmallConcurrency=true"])

    def test_whoever_has_events_posted_gets_a_secret_that_signs_them(self):
        self.assertEqual(self.deploy("EventsUrl=https://example.com/events").returncode, 0)
        self.assertIn("/headroom/events-secrets", self.secrets)

    def test_so_does_whoever_had_them_posted_before(self):
        self.there(stack="headroom", concurrency=1000, parameters={"EventsUrl": "https://example.com"}, secrets={})
        self.assertEqual(self.deploy().returncode, 0)
        self.assertIn("/headroom/events-secrets", self.secrets)

    def test_a_secret_that_nobody_may_read_is_not_made_anew(self):
        self.there(stack=None, concurrency=1000, parameters={}, secrets={}, denied=True)
        done = self.deploy()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("does not say whether it has /headroom/vapi-key", done.stderr)
        self.assertEqual((self.secrets, self.calls("sam")), ({}, []))

    def test_values_reach_sam_whole_and_empty_ones_too(self):
        self.assertEqual(self.deploy("BusyMessage=Please call 'again'.", "EventsUrl=").returncode, 0)
        self.assertEqual(self.overrides(), [r"BusyMessage='Please\ call\ \'again\'.'", "EventsUrl=''"])

    def test_another_stack_has_secrets_and_parameters_of_its_own(self):
        self.there(stack="headroom", concurrency=10, parameters={"SmallConcurrency": "false"}, secrets={})
        self.assertEqual(self.deploy("--stack", "staging", "VapiKeyParameter=/staging/vapi-key").returncode, 0)
        self.assertEqual(self.secrets["/staging/vapi-key"], ["SecureString", KEY])
        (said,) = self.calls("sam")
        self.assertEqual(said[said.index("--stack-name") + 1], "staging")
        self.assertEqual(self.overrides(), ["VapiKeyParameter='/staging/vapi-key'", "SmallConcurrency=true"])

    def test_what_to_type_next_is_for_the_vapi_that_was_named(self):
        self.assertNotIn("--vapi-url", self.deploy().stdout)
        done = self.deploy("VapiUrl=https://api.eu.vapi.ai")
        self.assertIn("vapi connect --url https://example.com/vapi --vapi-url https://api.eu.vapi.ai\n", done.stdout)

    def test_without_a_key_and_somebody_to_ask_nothing_is_deployed(self):
        done = self.deploy(key=None)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("the Vapi key is wanted", done.stderr)
        self.assertEqual((self.secrets, self.calls("sam"), self.calls("cargo")), ({}, [], []))


if __name__ == "__main__":
    unittest.main()
