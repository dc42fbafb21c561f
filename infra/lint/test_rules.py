"""Each rule is seen to fail: the real template with one mistake planted must give its finding."""

import copy
import re
import unittest
from pathlib import Path

import rules
import transform

TEMPLATE = transform.transform(transform.load(Path(__file__).parents[1] / "template.yaml"))
CALLS = Path(__file__).parents[1].joinpath("calls.txt").read_text("utf-8")

# What the Rust code would say if it agreed with the template: the rules are tried without it.
CONFIG = """
const TABLE: &str = "HEADROOM_TABLE";
const VAPI_URL: &str = "HEADROOM_VAPI_URL";
const VAPI_KEY: &str = "HEADROOM_VAPI_KEY";
const WAKE_QUEUE_URL: &str = "HEADROOM_WAKE_QUEUE_URL";
const LIMIT: &str = "HEADROOM_LIMIT";
const CAP: &str = "HEADROOM_CAP";
const HEADROOM: &str = "HEADROOM_HEADROOM";
const ADOPT_LIMIT: &str = "HEADROOM_ADOPT_LIMIT";
const ORGS: &str = "HEADROOM_ORGS";
const WEBHOOK_SECRETS: &str = "HEADROOM_WEBHOOK_SECRETS";
const INBOUND_ASSISTANTS: &str = "HEADROOM_INBOUND_ASSISTANTS";
const BUSY_MESSAGE: &str = "HEADROOM_BUSY_MESSAGE";
const OVERFLOW_NUMBERS: &str = "HEADROOM_OVERFLOW_NUMBERS";
const REJECT: &str = "HEADROOM_REJECT";
const CALLING_HOURS: &str = "HEADROOM_CALLING_HOURS";
const CALLS_PER_PERSON: &str = "HEADROOM_CALLS_PER_PERSON";
const ADMIN_TOKEN: &str = "HEADROOM_ADMIN_TOKEN";
const CAMPAIGN_QUEUE_URL: &str = "HEADROOM_CAMPAIGN_QUEUE_URL";
const EVENTS: &str = "HEADROOM_EVENTS";
const EVENTS_QUEUE_URL: &str = "HEADROOM_EVENTS_QUEUE_URL";
const EVENTS_SOURCE: &str = "HEADROOM_EVENTS_SOURCE";
const EVENTS_URL: &str = "HEADROOM_EVENTS_URL";
const EVENTS_SECRETS: &str = "HEADROOM_EVENTS_SECRETS";
const EVENTS_BUS: &str = "HEADROOM_EVENTS_BUS";
impl Store {
    fn from_env() { TABLE }
}
impl Access {
    fn from_env() { VAPI_URL, VAPI_KEY }
}
impl Lines {
    fn from_env() { WAKE_QUEUE_URL, LIMIT, CAP, HEADROOM, ADOPT_LIMIT, ORGS, REJECT, CALLING_HOURS, CALLS_PER_PERSON, EVENTS }
}
impl Callers {
    fn from_env() { WEBHOOK_SECRETS, INBOUND_ASSISTANTS, BUSY_MESSAGE, OVERFLOW_NUMBERS }
}
impl Operators {
    fn from_env() { ADMIN_TOKEN CAMPAIGN_QUEUE_URL }
}
impl Telling {
    fn from_env() { EVENTS, EVENTS_QUEUE_URL }
}
impl Listeners {
    fn from_env() { EVENTS_SOURCE, EVENTS_URL, EVENTS_SECRETS, EVENTS_BUS }
}
"""
TABLE = """
const READY_INDEX: &str = "ready";
.non_key_attributes("claims") .non_key_attributes("tz")
key("pk", KeyType::Hash) key("sk", KeyType::Range) key("q", KeyType::Hash) key("due", KeyType::Range)
attribute("pk", ScalarAttributeType::S) attribute("sk", ScalarAttributeType::S)
attribute("q", ScalarAttributeType::S) attribute("due", ScalarAttributeType::N)
.get_item() .put_item() .update_item() .query() .batch_get_item() .item("ttl", when)
.transact_write_items() Put::builder() Update::builder() Delete::builder()
"""
# Each metric that the dashboard shows is told, and each alarm is in the runbook.
BODY = TEMPLATE["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
SHOWN = sorted({*re.findall(r'"(?:Headroom|\.)", "([A-Z]\w+)"', BODY), "OutboundWaits"})
METRICS = "".join(f"tracing::trace!(target: METRICS, {name} = 1_u32, Rule = rule);\n" for name in SHOWN)
ALARMS = [n for n, r in TEMPLATE["Resources"].items() if r["Type"] == "AWS::CloudWatch::Alarm"]
RUNBOOK = "".join(f"## {name.removesuffix('Alarm')}\n\nDo something.\n" for name in ALARMS)


class Planted(unittest.TestCase):
    """One mistake at a time."""

    def setUp(self):
        self.template = copy.deepcopy(TEMPLATE)
        self.config, self.table, self.calls = CONFIG, TABLE, CALLS
        self.metrics, self.runbook = METRICS, RUNBOOK
        self.crates = {"BackfillFunction": "Access::from_env(&env)?"}

    def resource(self, name):
        return self.template["Resources"][name]

    def properties(self, name):
        return self.resource(name)["Properties"]

    def statements(self, role):
        return self.properties(role)["Policies"][0]["PolicyDocument"]["Statement"]

    def environment(self, function):
        return self.properties(function)["Environment"]["Variables"]

    def found(self):
        code = rules.Code.parse(
            self.config, self.table, self.crates, self.metrics, self.runbook, self.calls
        )
        return {(rule, resource) for rule, resource, _ in rules.findings(self.template, code)}

    def sees(self, rule, resource):
        self.assertIn((rule.__name__, resource), self.found())

    def test_the_template_itself_is_clean(self):
        self.assertEqual(self.found(), set())

    def test_every_rule_has_its_planted_mistake(self):
        source = Path(__file__).read_text("utf-8")
        for rule in rules.RULES:
            self.assertIn(f"self.sees(rules.{rule.__name__}, ", source)

    # --- Queues ---

    def test_visibility_below_six_times_the_time_limit(self):
        self.properties("CampaignsQueue")["VisibilityTimeout"] = 359
        self.sees(rules.visibility_covers_the_consumer, "CampaignsQueue")

    def test_a_batching_window_adds_to_the_visibility_needed(self):
        self.properties("DispatcherWakes")["MaximumBatchingWindowInSeconds"] = 1
        self.sees(rules.visibility_covers_the_consumer, "WakeQueue")

    def test_a_time_limit_raised_without_the_visibility(self):
        self.properties("DispatcherFunction")["Timeout"] = 61
        self.sees(rules.visibility_covers_the_consumer, "WakeQueue")

    def test_whole_batches_fail(self):
        del self.properties("DispatcherWakes")["FunctionResponseTypes"]
        self.sees(rules.one_bad_record_does_not_fail_its_batch, "DispatcherWakes")

    def test_a_queue_without_a_dead_letter_queue(self):
        del self.properties("CampaignsQueue")["RedrivePolicy"]
        self.sees(rules.queues_have_a_dead_letter_queue, "CampaignsQueue")

    def test_dead_letters_vanish_at_once(self):
        self.properties("CampaignsDeadQueue")["MessageRetentionPeriod"] = 345600
        self.sees(rules.queues_have_a_dead_letter_queue, "CampaignsDeadQueue")

    def test_a_queue_in_the_clear(self):
        del self.properties("WakeQueue")["SqsManagedSseEnabled"]
        self.sees(rules.queues_have_a_dead_letter_queue, "WakeQueue")

    def test_self_waking_is_taken_for_a_runaway_loop(self):
        del self.properties("DispatcherFunction")["RecursiveLoop"]
        self.sees(rules.self_waking_is_allowed, "DispatcherFunction")

    # --- Permissions ---

    def test_a_shared_role(self):
        self.properties("BackfillFunction")["Role"] = self.properties("ReconcilerFunction")["Role"]
        self.sees(rules.each_function_has_its_own_role, "BackfillFunction")
        self.sees(rules.each_function_has_its_own_role, "BackfillRole")

    def test_a_role_from_elsewhere(self):
        self.properties("WebhookFunction")["Role"] = "arn:aws:iam::123456789012:role/admin"
        self.sees(rules.each_function_has_its_own_role, "WebhookFunction")

    def test_any_resource(self):
        self.statements("WebhookRole")[0]["Resource"] = "*"
        self.sees(rules.no_wildcards, "WebhookRole")

    def test_any_part_of_the_table(self):
        self.statements("DispatcherRole")[2]["Resource"] = {"Fn::Sub": "${Table.Arn}/index/*"}
        self.sees(rules.no_wildcards, "DispatcherRole")

    def test_any_action(self):
        self.statements("ReconcilerRole")[0]["Action"] = ["dynamodb:*"]
        self.sees(rules.no_wildcards, "ReconcilerRole")

    def test_any_key_under_a_condition(self):
        self.statements("BackfillRole")[-2]["Fn::If"][1]["Resource"] = "*"
        self.sees(rules.no_wildcards, "BackfillRole")

    def test_anything_besides_tracing_on_any_resource(self):
        self.statements("BackfillRole")[-1]["Fn::If"][1]["Action"].append("xray:GetGroups")
        self.sees(rules.no_wildcards, "BackfillRole")

    def test_a_managed_policy(self):
        self.properties("WebhookRole")["ManagedPolicyArns"] = ["arn:aws:iam::aws:policy/AdministratorAccess"]
        self.sees(rules.no_wildcards, "WebhookRole")

    def test_a_policy_beside_the_roles(self):
        self.template["Resources"]["More"] = {"Type": "AWS::IAM::Policy", "Properties": {}}
        self.sees(rules.no_wildcards, "More")

    def test_a_missing_grant(self):
        for role, lost in [
            ("WebhookRole", "sqs:SendMessage"),
            ("ReconcilerRole", "ssm:GetParameters"),
            ("BackfillRole", "logs:PutLogEvents"),
            ("DispatcherRole", "sqs:DeleteMessage"),
        ]:
            with self.subTest(role=role, lost=lost):
                self.setUp()
                for statement in self.statements(role):
                    if lost in rules.listed(statement.get("Action", [])):
                        statement["Action"] = [a for a in rules.listed(statement["Action"]) if a != lost]
                self.sees(rules.grants_are_enough, role.replace("Role", "Function"))

    def test_an_announcer_that_may_not_announce(self):
        for action in ("events:PutEvents", "sqs:ChangeMessageVisibility"):
            with self.subTest(action):
                self.setUp()
                for statement in self.statements("AnnouncerRole"):
                    statement = statement["Fn::If"][1] if "Fn::If" in statement else statement
                    statement["Action"] = [a for a in rules.listed(statement["Action"]) if a != action]
                self.sees(rules.grants_are_enough, "AnnouncerFunction")

    def test_another_bus(self):
        for statement in self.statements("AnnouncerRole"):
            if "Fn::If" in statement and statement["Fn::If"][0] == "HasEventsBus":
                statement["Fn::If"][1]["Resource"] = {"Ref": "Table"}
        self.sees(rules.grants_are_not_too_much, "AnnouncerFunction")

    def test_a_parameter_that_may_not_be_read(self):
        del self.statements("WebhookRole")[3]["Resource"][1]
        self.sees(rules.grants_are_enough, "WebhookFunction")

    def test_a_grant_that_nothing_uses(self):
        for action, resource in [
            ("sqs:SendMessage", {"Fn::GetAtt": ["CampaignsQueue", "Arn"]}),
            ("sqs:ReceiveMessage", {"Fn::GetAtt": ["WakeQueue", "Arn"]}),
            ("logs:PutLogEvents", {"Fn::GetAtt": ["DispatcherLogs", "Arn"]}),
            ("dynamodb:Scan", {"Fn::GetAtt": ["Table", "Arn"]}),
            ("ssm:GetParameters", "arn:aws:ssm:us-east-1:123456789012:parameter/other"),
            ("ssm:PutParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/headroom/vapi-key"),
        ]:
            with self.subTest(action=action):
                self.setUp()
                more = {"Effect": "Allow", "Action": action, "Resource": resource}
                self.statements("WebhookRole").append(more)
                self.sees(rules.grants_are_not_too_much, "WebhookFunction")

    def test_a_call_that_its_role_does_not_allow(self):
        for role in ("WebhookRole", "DispatcherRole", "ReconcilerRole", "BackfillRole", "ConsoleRole"):
            for at, statement in enumerate(self.statements(role)):
                actions = rules.listed(statement.get("Action", []))
                if actions and actions[0].startswith("dynamodb:"):
                    with self.subTest(role=role, actions=actions):
                        self.setUp()
                        statement = self.statements(role)[at]
                        # One fewer: the last action, or the whole statement.
                        statement["Action"] = actions[:-1]
                        self.sees(rules.roles_allow_what_is_called, role.replace("Role", "Function"))

    def test_an_action_that_its_function_does_not_call(self):
        # Others may do so, and no wiring tells that this one does not.
        for role, action, resource in [
            ("BackfillRole", "dynamodb:UpdateItem", {"Fn::GetAtt": ["Table", "Arn"]}),
            ("WebhookRole", "dynamodb:Query", {"Fn::Sub": "${Table.Arn}/index/ready"}),
            ("ConsoleRole", "dynamodb:DeleteItem", {"Fn::GetAtt": ["Table", "Arn"]}),
        ]:
            with self.subTest(role=role):
                self.setUp()
                self.statements(role).append({"Effect": "Allow", "Action": action, "Resource": resource})
                self.sees(rules.roles_allow_what_is_called, role.replace("Role", "Function"))

    def test_a_call_that_nobody_recorded_before(self):
        self.calls += "backfill dynamodb:Query Table\n"
        self.sees(rules.roles_allow_what_is_called, "BackfillFunction")

    def test_a_function_without_any_call(self):
        self.calls = ""
        self.sees(rules.roles_allow_what_is_called, "WebhookFunction")

    def test_an_operation_that_no_function_may_call(self):
        self.table += ".scan()"
        self.sees(rules.every_operation_is_granted_somewhere, "Table")

    def test_code_that_calls_nothing_is_not_found(self):
        self.table = self.table.replace("()", "")
        self.sees(rules.every_operation_is_granted_somewhere, "Table")

    def test_a_secret_in_the_clear(self):
        self.environment("WebhookFunction")["HEADROOM_VAPI_KEY"] = {"Ref": "VapiKeyParameter"}
        self.sees(rules.secrets_are_references, "WebhookFunction")

    # --- What runs when ---

    def test_schedules(self):
        for good in ("rate(1 minute)", "rate(2 hours)", "cron(0 * * * ? *)", "cron(0/5 8 ? * MON-FRI *)"):
            self.assertTrue(rules.valid_schedule(good), good)
        for bad in ("rate(1 minutes)", "rate(2 hour)", "rate(0 minutes)", "rate(60 seconds)", "every minute",
                    "cron(* * * * *)", "cron(0 * * * * *)", "cron(0 * ? * ? *)", "cron(0  * * ? *)", ""):
            self.assertFalse(rules.valid_schedule(bad), bad)

    def test_a_schedule_that_is_none(self):
        self.properties("ReconcilerSchedule")["ScheduleExpression"] = "rate(1 minutes)"
        self.sees(rules.schedules_are_valid_and_reach_their_function, "ReconcilerSchedule")

    def test_a_schedule_that_is_off(self):
        self.properties("ReconcilerSchedule")["State"] = "DISABLED"
        self.sees(rules.schedules_are_valid_and_reach_their_function, "ReconcilerSchedule")

    def test_a_schedule_that_may_not_run_its_function(self):
        del self.template["Resources"]["BackfillPermission"]
        self.sees(rules.schedules_are_valid_and_reach_their_function, "BackfillSchedule")

    def test_a_pass_longer_than_its_minute(self):
        self.properties("ReconcilerFunction")["Timeout"] = 60
        self.sees(rules.schedules_are_valid_and_reach_their_function, "ReconcilerFunction")

    def test_another_route(self):
        self.properties("WebhookRoute")["RouteKey"] = "$default"
        self.sees(rules.routes_are_reachable_and_bounded, "WebhookRoute")
        self.sees(rules.routes_are_reachable_and_bounded, "WebhookFunction")

    def test_a_route_to_the_other_function(self):
        self.properties("ConsoleLinesRoute")["Target"] = self.properties("WebhookRoute")["Target"]
        self.sees(rules.routes_are_reachable_and_bounded, "ConsoleLinesRoute")
        self.sees(rules.routes_are_reachable_and_bounded, "ConsoleFunction")

    def test_routes_without_bounds(self):
        del self.properties("WebhookStage")["DefaultRouteSettings"]
        self.sees(rules.routes_are_reachable_and_bounded, "WebhookStage")

    def test_a_gateway_that_gives_up_first(self):
        for name in ("Webhook", "Console"):
            with self.subTest(name=name):
                self.setUp()
                self.properties(f"{name}Integration")["TimeoutInMillis"] = 9000
                self.sees(rules.routes_are_reachable_and_bounded, f"{name}Integration")

    def test_a_gateway_that_may_not_run_the_function(self):
        for name in ("Webhook", "ConsoleStatus", "ConsoleReserve", "ConsoleRelease"):
            with self.subTest(name=name):
                self.setUp()
                del self.template["Resources"][f"{name}Permission"]
                self.sees(rules.routes_are_reachable_and_bounded, f"{name}Route")

    # --- Logs and alarms ---

    def test_logs_for_ever(self):
        del self.properties("WebhookLogs")["RetentionInDays"]
        self.sees(rules.functions_have_logs_and_an_alarm, "WebhookLogs")

    def test_logs_left_to_lambda(self):
        del self.properties("WebhookFunction")["LoggingConfig"]
        self.sees(rules.functions_have_logs_and_an_alarm, "WebhookFunction")

    def test_errors_that_nobody_hears_of(self):
        for name in ("Webhook", "Dispatcher", "Reconciler", "Backfill", "Console"):
            with self.subTest(name=name):
                self.setUp()
                del self.template["Resources"][f"{name}ErrorsAlarm"]
                self.sees(rules.functions_have_logs_and_an_alarm, f"{name}Function")

    def test_lost_campaigns_that_nobody_hears_of(self):
        del self.template["Resources"]["CampaignsDeadAlarm"]
        self.sees(rules.lost_campaigns_raise_an_alarm, "CampaignsDeadQueue")

    def test_an_alarm_that_nobody_wrote_about(self):
        self.runbook = RUNBOOK.replace("## WebhookSlow\n", "")
        self.sees(rules.alarms_are_in_the_runbook, "WebhookSlowAlarm")

    def test_an_entry_about_an_alarm_that_is_no_more(self):
        del self.template["Resources"]["WebhookSlowAlarm"]
        self.sees(rules.alarms_are_in_the_runbook, "WebhookSlowAlarm")

    def test_a_metric_that_no_function_tells(self):
        self.metrics = METRICS.replace(" CallersBlocked = ", " CallersLost = ")
        self.sees(rules.metrics_are_those_the_code_has, "CallersBlockedAlarm")
        self.sees(rules.metrics_are_those_the_code_has, "Dashboard")

    def test_a_metric_under_metric_math_that_no_function_tells(self):
        self.metrics = METRICS.replace(" LedgerDrift = ", " Drift = ")
        self.sees(rules.metrics_are_those_the_code_has, "LedgerDriftAlarm")

    def test_an_alarm_on_every_stack(self):
        self.properties("CallersBlockedAlarm")["Dimensions"] = []
        self.sees(rules.metrics_are_those_the_code_has, "CallersBlockedAlarm")

    def test_a_dashboard_that_is_no_json(self):
        self.properties("Dashboard")["DashboardBody"]["Fn::Sub"] = BODY[:-10]
        self.sees(rules.metrics_are_those_the_code_has, "Dashboard")

    # --- The table, and agreement with the code ---

    def test_a_table_at_risk(self):
        plants = {
            "recovery": lambda: self.properties("Table").pop("PointInTimeRecoverySpecification"),
            "encryption": lambda: self.properties("Table").pop("SSESpecification"),
            "protection": lambda: self.template["Parameters"]["TableDeletionProtection"].update(Default="false"),
            "retention": lambda: self.resource("Table").pop("DeletionPolicy"),
        }
        for part, plant in plants.items():
            with self.subTest(part=part):
                self.setUp()
                plant()
                self.sees(rules.the_table_is_kept_safe, "Table")

    def test_a_table_other_than_the_code_s(self):
        index = lambda: self.properties("Table")["GlobalSecondaryIndexes"][0]
        plants = {
            "index": lambda: index().update(IndexName="waiting"),
            "range": lambda: index()["KeySchema"][1].update(AttributeName="sk"),
            "types": lambda: self.properties("Table")["AttributeDefinitions"][3].update(AttributeType="S"),
            "projection": lambda: index()["Projection"]["NonKeyAttributes"].remove("tz"),
            "ttl": lambda: self.properties("Table")["TimeToLiveSpecification"].update(AttributeName="expires"),
        }
        for part, plant in plants.items():
            with self.subTest(part=part):
                self.setUp()
                plant()
                self.sees(rules.the_table_is_the_one_the_code_uses, "Table")

    def test_a_grant_on_an_index_that_is_none(self):
        self.statements("DispatcherRole")[2]["Resource"] = {"Fn::Sub": "${Table.Arn}/index/waiting"}
        self.sees(rules.the_table_is_the_one_the_code_uses, "DispatcherFunction")

    def test_a_variable_not_set(self):
        del self.environment("DispatcherFunction")["HEADROOM_WAKE_QUEUE_URL"]
        self.sees(rules.the_environment_is_what_the_code_reads, "DispatcherFunction")

    def test_a_variable_that_the_code_newly_reads(self):
        self.config = self.config.replace("{ TABLE }", "{ TABLE, NEW }") + 'const NEW: &str = "HEADROOM_NEW";'
        self.sees(rules.the_environment_is_what_the_code_reads, "BackfillFunction")

    def test_a_function_that_newly_reads_more(self):
        self.crates["BackfillFunction"] += "Lines::from_env(&env)?"
        self.sees(rules.the_environment_is_what_the_code_reads, "BackfillFunction")

    def test_a_variable_that_nothing_reads(self):
        self.environment("BackfillFunction")["HEADROOM_OLD"] = "1"
        self.sees(rules.the_environment_is_what_the_code_reads, "BackfillFunction")

    def test_a_queue_or_a_secret_where_it_has_no_use(self):
        self.environment("BackfillFunction")["HEADROOM_WAKE_QUEUE_URL"] = {"Ref": "WakeQueue"}
        self.sees(rules.the_environment_is_what_the_code_reads, "BackfillFunction")
        secrets = self.environment("WebhookFunction")["HEADROOM_WEBHOOK_SECRETS"]
        self.environment("DispatcherFunction")["HEADROOM_WEBHOOK_SECRETS"] = secrets
        self.sees(rules.the_environment_is_what_the_code_reads, "DispatcherFunction")

    def test_code_that_names_no_variable(self):
        self.config = ""
        self.sees(rules.the_environment_is_what_the_code_reads, "Globals")


if __name__ == "__main__":
    unittest.main()
