"""Amazon SES publishes to SNS topics, which have subscriptions with the URLs.

- https://docs.aws.amazon.com/ses/latest/dg/event-publishing-add-event-destination-sns.html
- https://docs.aws.amazon.com/ses/latest/dg/receiving-email-action-sns.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .base import Registered, WebhookAPI, WebhookAPIError


class AmazonSES(WebhookAPI):
    """With boto3, and more permissions than sending takes."""

    places = {
        "tracking": (
            "Amazon SNS, a topic, Subscriptions (HTTPS, without raw message delivery); "
            "the topic in SES, the configuration set, Event destinations"
        ),
        "inbound": (
            "Amazon SNS, a topic, Subscriptions; the topic in SES, Email receiving, a rule "
            "with the action SNS (Base64) or S3"
        ),
    }
    events = {
        "SEND": "sent",
        "REJECT": "rejected",
        "BOUNCE": "bounced",
        "COMPLAINT": "complained",
        "DELIVERY": "delivered",
        "OPEN": "opened",
        "CLICK": "clicked",
        "RENDERING_FAILURE": "failed",
        "DELIVERY_DELAY": "deferred",
        "SUBSCRIPTION": "subscribed, unsubscribed",
    }
    signs = "each call, by Amazon SNS: for the topics of all of its customers"
    cannot_tell = ("Notifications that are set for identities are not looked at.",)

    def unreadable(self, kind: str) -> str:
        if kind == "tracking" and not self.backend.configuration_set_name:
            return "Set AMAZON_SES_CONFIGURATION_SET_NAME to have its destinations looked at."
        return ""

    def registered(self) -> Iterator[Registered]:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            yield from self._registered()
        except ClientError as error:
            operation, code = error.operation_name, error.response["Error"]["Code"]
            raise WebhookAPIError(f"{operation} of AWS answers {code}.") from None
        except (BotoCoreError, ResponseParserError) as error:
            raise WebhookAPIError(f"AWS can't be asked: {type(error).__name__}.") from None

    def _client(self, name: str) -> Any:
        import boto3

        session = boto3.session.Session(**self.backend.session_params)
        return session.client(name, **self.backend.client_params)

    def _registered(self) -> Iterator[Registered]:
        name = self.backend.configuration_set_name
        if name:
            answer = self._client("sesv2").get_configuration_set_event_destinations(
                ConfigurationSetName=name
            )
            for item in answer["EventDestinations"]:
                if topic := item.get("SnsDestination", {}).get("TopicArn"):
                    for url in self._endpoints(topic):
                        yield Registered(
                            "tracking",
                            url,
                            events=frozenset(item["MatchingEventTypes"]),
                            is_active=item.get("Enabled"),
                            scope=f"destination {item['Name']}",
                        )
        for rule in self._client("ses").describe_active_receipt_rule_set().get("Rules", ()):
            for action in rule.get("Actions", ()):
                for kind in ("SNSAction", "S3Action"):
                    if topic := action.get(kind, {}).get("TopicArn"):
                        for url in self._endpoints(topic):
                            yield Registered(
                                "inbound",
                                url,
                                is_active=rule.get("Enabled"),
                                scope=f"rule {rule['Name']}",
                            )

    def _endpoints(self, topic: str) -> Iterator[str]:
        pages = self._client("sns").get_paginator("list_subscriptions_by_topic")
        for page in pages.paginate(TopicArn=topic):
            for subscription in page["Subscriptions"]:
                if subscription["Protocol"] in ("http", "https"):
                    yield subscription["Endpoint"]
