"""The tables of a configuration file, as pydantic checks them. The names are those of the arguments in Python."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from batch_bridge._core.policy.lanes import LaneName
from batch_bridge.bridge._config.fields import Address, Duration, DurationOrNever, Flag, Text, Variable, Whole
from batch_bridge.bridge._config.trust import without_keys
from batch_bridge.providers._shared.http.response_limits import USUAL
from batch_bridge.providers._shared.names import OpenAIName


class Table(BaseModel):
    """A table takes no name that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def given(self, *without: str) -> dict[str, Any]:
        """Return the file's settings as arguments; missing settings have the same defaults as in Python."""
        return {name: getattr(self, name) for name in self.model_fields_set.difference(without)}


class LimitsTable(Table):
    """`Limits`."""

    requests: Whole | None = None
    bytes: Whole | None = None
    enqueued_tokens: Whole | None = None
    batches: Whole | None = None
    creations_per_hour: Whole | None = None


class FlushTable(Table):
    """`FlushPolicy`, but for its predicate."""

    max_requests: Whole = 50_000
    max_bytes: Whole | None = None
    max_age: DurationOrNever = None
    max_idle: DurationOrNever = None
    when_idle: Flag | None = None


class TenantTable(Table):
    """`TenantLimits`."""

    requests: Whole | None = None
    bytes: Whole | None = None


class BudgetTable(Table):
    """`Budget`."""

    usd: Decimal | None = None
    usd_per_thread: Decimal | None = None
    requests_per_thread: Whole | None = None
    output_tokens: Whole | None = None


class CacheTable(Table):
    """`ResponseCache` in a SQLite file."""

    path: Text
    ttl: DurationOrNever = None
    tenant: Annotated[str, Field(strict=True)] = ""


class ResponsesTable(Table):
    """`ResponseLimits`."""

    answer_bytes: Whole = USUAL.answer_bytes
    body_bytes: Whole = USUAL.body_bytes
    download_bytes: Whole = USUAL.download_bytes
    listed: Whole = USUAL.listed
    call_time: Duration = USUAL.call_time
    transfer_time: Duration = USUAL.transfer_time
    hosts: tuple[Text, ...] = ()


class AllowTable(Table):
    """`Allow`."""

    models: tuple[Text, ...] | None = None
    endpoints: tuple[Text, ...] | None = None
    fields: tuple[Text, ...] | None = None


class ProviderTable(Table):
    """What all providers take."""

    name: str
    model: Text | None = None
    defaults: Annotated[Mapping[str, Any] | None, AfterValidator(without_keys)] = None
    limits: LimitsTable | None = None
    responses: ResponsesTable | None = None
    allow: Literal["messages"] | AllowTable | None = None
    api_key_env: Variable | None = None
    timeout: Duration | None = None


class LikeOpenAI(ProviderTable):
    """OpenAI, and servers that speak its API."""

    name: OpenAIName
    base_url: Address | None = None
    organization: Text | None = None
    project: Text | None = None
    endpoint: Text | None = None
    completion_window: Text | None = None
    metadata: Mapping[str, str] | None = None
    delete_files: Flag = False
    files_expire_after: Duration | None = None
    output_expires_after: Duration | None = None


class Azure(ProviderTable):
    """Azure OpenAI."""

    name: Literal["azure"]
    azure_endpoint: Address | None = None
    api_version: Text | None = None
    endpoint: Text | None = None
    metadata: Mapping[str, str] | None = None
    delete_files: Flag = False
    files_expire_after: Duration | None = None
    output_expires_after: Duration | None = None


class Anthropic(ProviderTable):
    """Anthropic."""

    name: Literal["anthropic"]
    base_url: Address | None = None
    max_tokens: Whole | None = None
    betas: list[Text] = Field(default_factory=list)
    lost_after: DurationOrNever = None
    delete_batches: Flag = False
    prime: Flag = False


class Gemini(ProviderTable):
    """Gemini."""

    name: Literal["gemini"]
    base_url: Address | None = None
    inline_bytes: Annotated[int, Field(strict=True, ge=0)] = 0
    inline_doubt: Duration | None = None
    delete_files: Flag = False


AnyProvider: TypeAlias = Annotated[LikeOpenAI | Azure | Anthropic | Gemini, Field(discriminator="name")]
PROVIDERS: Final[Mapping[str, type[ProviderTable]]] = {
    name: table
    for table in (LikeOpenAI, Azure, Anthropic, Gemini)
    for name in get_args(table.model_fields["name"].annotation)
}
"""The table of each provider, by its name."""


class BridgeTable(Table):
    """A `Bridge`; its name is the table's."""

    provider: AnyProvider
    flush: FlushTable = FlushTable()
    cache: CacheTable | None = None
    per_tenant: TenantTable | None = None
    budget: BudgetTable | None = None
    notify_env: Variable | None = None
    poll_interval: Duration | None = None
    poll_patience: Duration | None = None
    mode: Literal[LaneName, "auto"] | None = None
    realtime_below: Whole | None = None
    ladder: list[LaneName] | None = None
    dedupe: Flag = False
    linger: Duration | None = None
    retention: Duration | None = None
    attempts: Whole | None = None
    deadline: Duration | None = None
    on_deadline: Literal["wait_for_cancel", "pay_again"] | None = None
    fallback: AnyProvider | None = None


class ConfigFile(Table):
    """The whole file."""

    bridges: dict[str, BridgeTable]


SECRETS: Final = ("api_key", "token", "secret", "password", "authorization")
"""Parts of names whose values are not to be in a file, and never in an error."""
