"""Sessions in the accounts where machines live, and one `Api` for each account and Region.

An account other than the router's own is entered by its role, with the org's external id; see
"Access to AWS accounts owned by third parties" in the IAM User Guide. The credentials are
AWS's refreshable ones: renewed by themselves, some minutes before they end.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.session import AioSession
from botocore.credentials import CredentialProvider

from torpor_provisioner.ec2.api import Api
from torpor_provisioner.ec2.faults import FAILURES, fault
from torpor_provisioner.ec2.refs import Ref
from torpor_provisioner.ec2.settings import Ec2Settings, Place
from torpor_provisioner.ec2.throttle import Throttle
from torpor_provisioner.errors import Gone

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sts import STSClient

SESSION_SECONDS = 3600
CONFIG = AioConfig(
    connect_timeout=5,
    read_timeout=8,  # a lost answer is looked after; AWS answers within a second or two
    max_pool_connections=50,
    retries={"total_max_attempts": 1, "mode": "standard"},
)


class Accounts:
    """Makes what is asked for when it is first asked for; `aclose` ends all of it."""

    def __init__(self, settings: Ec2Settings) -> None:
        self._settings = settings
        self._places = {place.account: place for place in reversed(settings.places)}
        self._own = AioSession()
        self._own_account = ""
        self._apis: dict[tuple[str, str], Api] = {}
        self._sts: dict[str, STSClient] = {}
        self._lock = asyncio.Lock()
        self._open = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<Accounts {sorted('/'.join(key) for key in self._apis)}>"

    async def of_place(self, place: Place) -> Api:
        """The `Api` of a place.

        Raises:
            Fault: AWS does not let us in.
        """
        async with self._lock:
            account = place.account or await self._own_id(place.region)
            return await self._api(account, place.region)

    async def of_ref(self, ref: Ref) -> Api:
        """The `Api` of a machine.

        Raises:
            Gone: it is in an account that this deployment has no place in.
            Fault: AWS does not let us in.
        """
        async with self._lock:
            if ref.account not in self._places:
                own = await self._own_id(ref.region) if "" in self._places else None
                if ref.account != own:
                    raise Gone(f"no place of this deployment is in account {ref.account}")
            return await self._api(ref.account, ref.region)

    async def queue(self) -> SQSClient:
        """A client for the feed's queue, in the router's own account."""
        async with self._lock:
            place = self._settings.place
            client: SQSClient = await self._client("sqs", self._own, place.region)
            return client

    async def aclose(self) -> None:
        async with self._lock:
            self._apis.clear()
            await self._open.aclose()

    async def _api(self, account: str, region: str) -> Api:
        key = (account, region)
        if key not in self._apis:
            place = self._places.get(account) or self._places[""]
            session = self._entering(place, region) if place.role_arn else self._own
            client = await self._client("ec2", session, region)
            self._apis[key] = Api(account, region, client, self._throttle())
        return self._apis[key]

    def _throttle(self) -> Throttle:
        return Throttle(self._settings.limits, self._settings.resource_limits)

    async def _own_id(self, region: str) -> str:
        if not self._own_account:
            sts = await self._sts_in(region)
            try:
                self._own_account = (await sts.get_caller_identity())["Account"]
            except FAILURES as error:
                raise fault("GetCallerIdentity", error) from error
        return self._own_account

    def _entering(self, place: Place, region: str) -> AioSession:
        session = AioSession()
        # Parsing AWS's service descriptions takes 0.2 s of the loop: once is enough.
        session.register_component("data_loader", self._own.get_component("data_loader"))
        role = _Role(self, place, region, f"torpor-{self._settings.deployment}"[:64])
        session.get_component("credential_provider").providers = [role]
        return session

    async def assume(self, place: Place, region: str, name: str) -> dict[str, Any]:
        """Fresh credentials of a place's role, in the form botocore refreshes with."""
        sts = await self._sts_in(region)
        try:
            answer = await sts.assume_role(
                RoleArn=place.role_arn,
                RoleSessionName=name,
                ExternalId=place.external_id,
                DurationSeconds=SESSION_SECONDS,
            )
        except FAILURES as error:
            raise fault("AssumeRole", error) from error
        given = answer["Credentials"]
        return {
            "access_key": given["AccessKeyId"],
            "secret_key": given["SecretAccessKey"],
            "token": given["SessionToken"],
            "expiry_time": given["Expiration"].isoformat(),
        }

    async def _sts_in(self, region: str) -> STSClient:
        if region not in self._sts:
            self._sts[region] = await self._client("sts", self._own, region)
        return self._sts[region]

    async def _client(self, service: Any, session: AioSession, region: str) -> Any:
        made = aioboto3.Session(botocore_session=session).client(
            service,
            region_name=region,
            endpoint_url=self._settings.endpoint or None,
            config=CONFIG,
        )
        return await self._open.enter_async_context(made)


class _Role(CredentialProvider):
    METHOD = "torpor-assume-role"

    def __init__(self, accounts: Accounts, place: Place, region: str, name: str) -> None:
        super().__init__()
        self._accounts = accounts
        self._place = place
        self._region = region
        self._name = name

    async def load(self) -> AioRefreshableCredentials:
        return AioRefreshableCredentials.create_from_metadata(
            metadata=await self._refresh(), refresh_using=self._refresh, method=self.METHOD
        )

    async def _refresh(self) -> dict[str, Any]:
        return await self._accounts.assume(self._place, self._region, self._name)
