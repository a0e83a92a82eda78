"""What AWS would refuse of a deployment is refused when the template is written."""

from typing import Any

import pytest

from infra.limits import LimitError, check_limits
from infra.regions import Region
from tests.infra.templates import synth

# As long as names of repositories commonly are.
REPOSITORIES = [f"team-{number:03}/service-with-a-usual-name" for number in range(150)]
REGISTRIES = [f"{number:012}" for number in range(400)]


def refused(**settings: Any) -> str:
    with pytest.raises(LimitError) as caught:
        check_limits(synth(**settings))
    assert str(caught.value).startswith("AWS would refuse this deployment:\n  ")
    return str(caught.value)


def test_the_policies_of_the_role_are_within_iams_limit() -> None:
    message = refused(repositories=REPOSITORIES)
    assert "IAM takes 10,240" in message
    assert "Name fewer repositories: prefixes such as team/* stand for many" in message


def test_the_pattern_of_pushes_is_within_eventbridges_limit() -> None:
    message = refused(repositories=REPOSITORIES[:60], imagePull=True)
    assert "The event pattern for images that are pushed has" in message
    assert "EventBridge takes 2,048" in message
    assert "IAM" not in message


def test_the_pattern_of_requests_is_within_eventbridges_limit() -> None:
    assert "Name fewer eventSources" in refused(eventSources=[f"com.example.source-{each}" for each in range(100)])


def test_the_environment_is_within_lambdas_limit() -> None:
    assert "Lambda takes 4,096" in refused(registries=REGISTRIES, repositories=["a/b"])
    hosts = [f"bucket-{number}.storage.example.com" for number in range(150)]
    assert "Name fewer registries or downloadUrlHosts" in refused(downloadUrlHosts=hosts)


def test_the_resource_policy_is_within_lambdas_limit() -> None:
    message = refused(allowedPrincipals=REGISTRIES[:100])
    assert "Lambda takes 20,480" in message
    assert "an organisation id for all of its accounts" in message


def test_all_that_is_too_large_is_named_at_once() -> None:
    message = refused(repositories=REPOSITORIES, imagePull=True, listTags=True)
    assert "IAM takes" in message
    assert "EventBridge takes" in message


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"repositories": REPOSITORIES[:80]},
        {"repositories": REPOSITORIES[:80], "listTags": True},
        {"repositories": REPOSITORIES[:30], "imagePull": True, "listTags": True},
        {"allowedPrincipals": REGISTRIES[:20]},
        {"registries": REGISTRIES[:50]},
    ],
)
def test_what_is_within_the_limits_passes(settings: dict[str, Any]) -> None:
    check_limits(synth(**settings), Region.named("eu-west-1"))


def test_a_long_partition_counts() -> None:
    template = synth(repositories=REPOSITORIES[:106])
    check_limits(template, Region.named("us-east-1"))
    with pytest.raises(LimitError):
        check_limits(template, Region.named("us-gov-west-1"))


def test_more_actions_cost_next_to_nothing_since_all_are_in_one_statement() -> None:
    # Three statements would have all ARNs three times.
    check_limits(synth(repositories=[f"team-{each}/*" for each in range(100)], listTags=True))


class TestBounds:
    """A template of one resource, as long as AWS takes it, and a character longer."""

    @staticmethod
    def problems(**resources: dict[str, Any]) -> list[str]:
        try:
            check_limits({"Resources": resources}, Region.named("eu-west-1"))
        except LimitError as error:
            return str(error).splitlines()[1:]
        return []

    def role(self, *policies: Any) -> dict[str, Any]:
        return {"Type": "AWS::IAM::Role", "Properties": {"Policies": [{"PolicyDocument": each} for each in policies]}}

    def test_of_policies_in_all_their_places(self) -> None:
        # Each list counts for itself: `["…"]` has four characters beside its own, and white space has none.
        attached = {
            "Type": "AWS::IAM::Policy",
            "Properties": {"PolicyDocument": ["c" * 1000], "Roles": [{"Ref": "Role"}]},
        }
        for more, count in (0, 0), (1, 1):
            role = self.role(["a" * 8000 + " " * 99], ["b" * (10_240 - 9_000 - 12 + more)])
            problems = self.problems(Role=role, Policy=attached)
            assert len(problems) == count
        assert "have 10,241 characters" in problems[0]
        alone = self.problems(Role={"Type": "AWS::IAM::Role"}, Policy=attached)
        assert alone == []

    def test_of_each_role_by_itself(self) -> None:
        assert self.problems(One=self.role(["a" * 10_236]), Two=self.role(["b" * 10_236])) == []
        assert len(self.problems(One=self.role(["a" * 10_237]), Two=self.role(["b" * 10_237]))) == 2

    @pytest.mark.parametrize(("source", "what"), [("aws.ecr", "images that are pushed"), ("com.example", "requests")])
    def test_of_patterns(self, source: str, what: str) -> None:
        for more, count in (0, 0), (1, 1):
            pattern = {
                "source": [source],
                "detail": "ü" * (2_048 - len(f'{{"source":["{source}"],"detail":""}}') + more),
            }
            problems = self.problems(Rule={"Type": "AWS::Events::Rule", "Properties": {"EventPattern": pattern}})
            assert len(problems) == count
        assert f"The event pattern for {what} has 2,049 characters" in problems[0]

    def test_of_environments(self) -> None:
        for more, count in (0, 0), (1, 1):
            variables = {"NAME": "ü" * 1000, "OTHER": "v" * (4_096 - 2_009 + more)}
            function = {"Type": "AWS::Lambda::Function", "Properties": {"Environment": {"Variables": variables}}}
            problems = self.problems(Function=function, Without={"Type": "AWS::Lambda::Function"})
            assert len(problems) == count
        assert "has 4,097 bytes" in problems[0]

    def test_of_functions_at_the_edge(self) -> None:
        for more, count in (0, 0), (1, 1):
            code = "ü" * 5_000 + "a" * (240 + more)
            problems = self.problems(Edge={"Type": "AWS::CloudFront::Function", "Properties": {"FunctionCode": code}})
            assert len(problems) == count
        assert "has 10,241 bytes" in problems[0]

    def test_of_resource_policies_with_all_that_lambda_writes_into_them(self) -> None:
        def permission(length: int) -> dict[str, Any]:
            properties = {
                "Action": "lambda:InvokeFunctionUrl",
                "FunctionName": {"Ref": "Function"},
                "FunctionUrlAuthType": "AWS_IAM",
                "InvokedViaFunctionUrl": True,
                "Principal": "1" * length,
            }
            return {"Type": "AWS::Lambda::Permission", "Properties": properties}

        # As an account's policy has it, with the id that CloudFormation puts behind a logical id.
        statement = (
            '{"Sid":"Permission-XXXXXXXXXXXXX","Effect":"Allow","Principal":{"AWS":"arn:aws:iam:::root"},'
            '"Action":"lambda:InvokeFunctionUrl","Resource":"Function-XXXXXXXXXXXXX","Condition":'
            '{"StringEquals":{"lambda:FunctionUrlAuthType":"AWS_IAM"},"Bool":{"lambda:FunctionUrlAuthType":true}}}'
        )
        longest = 20 * 1024 - len(statement)
        assert self.problems(Permission=permission(longest)) == []
        assert "has about 20,481 bytes" in self.problems(Permission=permission(longest + 1))[0]

    def test_of_names_that_are_known_only_after_a_deployment(self) -> None:
        arn = {
            "Fn::Join": ["", ["a:", {"Ref": "AWS::Partition"}, {"Ref": "AWS::Region"}, {"Ref": "AWS::AccountId"}]],
        }
        names = [arn, {"Fn::GetAtt": ["Queue", "Arn"]}, {"Ref": "Queue"}, {"Ref": "AWS::URLSuffix"}]
        written = [
            f"a:awseu-west-1{'0' * 12}",
            f"arn:sqs:aws:eu-west-1:{'0' * 12}:Queue-XXXXXXXXXXXXX",
            "Queue-XXXXXXXXXXXXX",
            "amazonaws.com",
        ]
        left = 10_240 - len(str(written).replace("', '", '","')) - len(',""')
        for more, count in (0, 0), (1, 1):
            role = self.role([*names, "x" * (left + more)])
            assert len(self.problems(Role=role, Queue={"Type": "AWS::SQS::Queue"})) == count
