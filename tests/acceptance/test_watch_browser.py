"""The page in a real Chromium: it opens, moves without being loaded again, cancels a batch, and shows failures.

With BATCH_BRIDGE_SCREENSHOTS=docs/images it leaves the pictures of the docs there.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batch_bridge.testing import BatchServer

selenium = pytest.importorskip("selenium", reason="the group `browser` is not installed: uv sync --group browser")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not CHROMIUM or not DRIVER, reason="Chromium is not installed: apt-get install chromium chromium-driver"
)
JOB = Path(__file__).parents[1] / "integration" / "status_job.py"
THREADS = 300


@pytest.fixture
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for each in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1200,800",
    ):
        options.add_argument(each)
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER)) as driver:
        yield driver


@pytest.fixture
def run(tmp_path):
    """A run of 300 threads on the Batch API server, some of whose requests fail; and the page."""
    started = []

    def start(*command, **options):
        started.append(subprocess.Popen(command, cwd=tmp_path, **options))
        return started[-1]

    with BatchServer(line_failure=0.02, latency=0.2) as server:
        start(sys.executable, str(JOB), server.base_url, "run.db", str(THREADS), stdout=subprocess.DEVNULL)
        while not (tmp_path / "run.db").exists():
            assert started[0].poll() is None
        watch = [
            sys.executable,
            "-c",
            "from batch_bridge._cli.app import app; app()",
            "watch",
            "run.db",
            "--web",
            "--port",
            "0",
        ]
        page = start(*watch, stdout=subprocess.PIPE, text=True)
        (line,) = [page.stdout.readline()]
        try:
            yield server, re.search(r"http://\S+", line)[0], started[0]
        finally:
            for process in reversed(started):
                process.send_signal(signal.SIGKILL)
                process.wait()
                if process.stdout:
                    process.stdout.close()


def test_it_opens_moves_cancels_and_shows_failures(browser, run, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    server, url, process = run
    shots = Path(os.environ.get("BATCH_BRIDGE_SCREENSHOTS", tmp_path)).absolute()
    shots.mkdir(parents=True, exist_ok=True)

    def text(selector):
        return browser.execute_script(f"return document.querySelector({selector!r})?.innerText ?? ''")

    def until(wanted):
        return WebDriverWait(browser, 90, 0.1).until(lambda _: wanted())

    server.configure(latency=3600)  # what is sent from now on waits
    browser.get(url)
    browser.execute_script("window.isFirst = true")
    until(lambda: "alive: process" in text("#alive"))
    until(lambda: "in flight" in text("#batches"))
    until(lambda: f"of {THREADS} threads" in text("#threads"))
    browser.save_screenshot(str(shots / "status-overview.png"))

    open_batch = until(
        lambda: browser.execute_script(
            "return [...document.querySelectorAll('#batches tbody tr')]"
            ".find(row => row.innerText.includes('in flight'))?.querySelector('a').href"
        )
    )
    assert browser.execute_script("return window.isFirst"), "it has moved without being loaded again"
    browser.get(open_batch)
    until(lambda: text("#state") == "in flight")
    browser.find_element(By.ID, "cancel").click()
    until(lambda: re.search(r"cancel: \d+ requests are cancelled", text("#said")))
    until(lambda: text("#state") in ("stopping", "ended"))

    server.configure(latency=0)
    process.wait(120)
    browser.get(f"{url}failures")
    until(lambda: "cancelled" in text("#failures") and "threads" in text("#failures"))
    until(lambda: "has closed it" in text("#alive"))
    browser.save_screenshot(str(shots / "status-failures.png"))
    levels = [
        each for each in browser.get_log("browser") if each["level"] == "SEVERE" and "favicon" not in each["message"]
    ]
    assert not levels
