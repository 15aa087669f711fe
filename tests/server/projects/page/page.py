"""The page of the bridge, for everybody but Mallory."""

from bridges import bridge

from batch_bridge.web import app as page_of

app = page_of(bridge, may=lambda user: user.identity != "mallory")
