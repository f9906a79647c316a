"""experiments/results_page.py: what is on the page, what its server gives, and the page itself in a real browser."""

import contextlib
import csv
import http.client
import importlib.util
import json
import os
import re
import shutil
import socket
import threading
import time

import numpy as np
import pytest

import samples
import scripts
from conftest import ROOT
from utils import published, results
from utils.errors import UserError
from utils.page import document, records, server

COMMITTED = os.path.join(ROOT, "results")
SEEDS = [f"lenet_300_100-mnist-seed{seed}" for seed in (1, 2, 3, 4)]
PICTURED = "lenet5_caffe-mnist-from-dense-augment-earlier-code-seed1"
HOSTILE = "<img src=x onerror=hacked()>"
TEXTS = "char_lm-bible-seed1"
EVIL = "</script><script>window.hacked = 1</script><b onclick=hacked()>&amp;\u2028{{ 7 * 7 }}"


def copy(name, folder, new=None):
    """A committed run's folder, in another place."""
    target = folder / (new or name)
    shutil.copytree(os.path.join(COMMITTED, name), target, ignore=shutil.ignore_patterns("*.npz"))
    return target


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def add_thresholds(run):
    """A sweep in which a lower threshold leaves fewer weights and more errors."""
    rows = [{"threshold": value, "nonzero": int(3000 + 500 * value), "error_percent": 2 - 0.1 * value,
             "compression": 200 - 10 * value} for value in np.arange(-4, 6.01, 0.25)[::-1]]
    edges = np.linspace(-8, 8, 81).tolist()
    (run / "thresholds.json").write_text(json.dumps({"images": "test images", "thresholds": rows, "edges": edges,
                                                     "histogram": {"dense1": list(range(80)), "dense2": [3] * 80}}))


def add_measured(run):
    """Makes it one of a language model."""
    edit(run / "summary.json", lambda summary: summary.update(
        network="char-lstm", network_title="LSTM of characters", test_bits=1.234))
    header, *rows = (run / "history.csv").read_text().splitlines()
    new = "valid_nll,valid_error_percent,valid_bits,test_bits,words_left,neurons_left"
    rows = [f"{row},0.5,30,{2 - number / 200},{2.1 - number / 200},{4000 - number},{64 - number // 5}"
            for number, row in enumerate(rows)]
    (run / "history.csv").write_text("\n".join([f"{header},{new}", *rows]) + "\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of runs, with the page."""
    folder = tmp_path_factory.mktemp("site") / "results"
    folder.mkdir()
    for name in (*SEEDS, PICTURED, "lenet_300_100-mnist-dense-seed1", "vgg_like-cifar10_q75-k0.25-18-epochs-seed1"):
        copy(name, folder)
    add_thresholds(folder / SEEDS[0])
    hostile = copy("lenet5_caffe-mnist-earlier-code-seed1", folder, HOSTILE)
    edit(hostile / "summary.json", lambda summary: summary.update(
        network=EVIL, method=EVIL, flags=[EVIL], dataset=EVIL))
    edit(hostile / "config.json", lambda config: config.update(command=EVIL, environment={EVIL: EVIL}))
    edit(hostile / "config.json", lambda config: config["settings"].update({EVIL: EVIL, "network": EVIL}))
    (hostile / "log.txt").write_text(EVIL)
    history = (hostile / "history.csv").read_text()
    (hostile / "history.csv").write_text(history.replace("percent_conv1", "percent_<img src=x onerror=hacked()>"))
    add_thresholds(hostile)
    add_measured(copy(SEEDS[1], folder, TEXTS))
    broken = copy(SEEDS[0], folder, "<b>broken")
    (broken / "summary.json").write_text("{")
    ran = scripts.run("results_page", cwd=folder.parent)
    assert ran.returncode == 0, ran.stderr
    assert "9 runs, 1 skipped" in ran.stdout and "<b>broken" in ran.stderr and len(ran.stderr.splitlines()) == 1
    return folder


# Without a browser


def test_runs_are_read_again_and_forgotten(tmp_path):
    for name in ("one", "two"):
        samples.write_run(tmp_path / name)
    found = document.Runs([str(tmp_path)])
    first = found.revision
    samples.write_history(tmp_path / "one", samples.HISTORY[:2])
    found.refresh()
    row, = found.changed_since(first)
    assert (row["name"], row["done"]) == ("one", 2) and found.revision > first
    before = found.revision
    shutil.rmtree(tmp_path / "two")
    found.refresh()
    assert [record.row["name"] for record in found.records.values()] == ["one"] and found.revision > before


def test_committed_runs_are_all_there():
    found = document.Runs([COMMITTED])
    assert not found.broken
    expected = {os.path.basename(summary["folder"]): summary for group in results.collect(COMMITTED)
                for summary in group.summaries}
    rows = {record.row["name"]: record.row for record in found.records.values()}
    assert rows.keys() == expected.keys()
    for name, summary in expected.items():
        assert rows[name]["error"] == summary["test_error_percent"]
        assert rows[name]["compression"] == summary["compression"]
        assert rows[name]["method"] == summary["method_title"] and rows[name]["status"] == "finished"
    groups = {row["group"] for row in rows.values()}
    assert len(groups) == len(results.collect(COMMITTED))
    details = found.records[os.path.join(COMMITTED, PICTURED)].details(found.limits)
    assert ["snapshots/filters.gif", "snapshots/filters.gif"] in details["files"]
    assert len(details["history"]["epoch"]) == 200 and "--augment" in details["command"]


def test_the_page_needs_nothing_else(site):
    text = (site / "index.html").read_text()
    assert "connect-src 'none'" in text and "default-src 'none'" in text
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=[\"']?(https?:)?//", text)
    assert EVIL not in text and HOSTILE not in text


@pytest.mark.parametrize("name, content", [
    ("summary.json", "[]"), ("summary.json", '{"format": 2}'), ("config.json", "{}"), ("history.csv", "epoch,a\n1,x\n"),
    ("history.csv", "epoch,a\n1\n"), ("thresholds.json", '{"thresholds": 3}'),
    ("summary.json", {"test_error_percent": "low"}), ("summary.json", {"weights": {"dense1": None}})])
def test_a_broken_run_is_named_and_left_out(tmp_path, capsys, name, content):
    copy(SEEDS[0], tmp_path, "good")
    bad = copy(SEEDS[0], tmp_path, "bad")
    if isinstance(content, dict):
        edit(bad / name, lambda value: value.update(content))
    else:
        (bad / name).write_text(content)
    found = document.Runs([str(tmp_path)])
    assert [os.path.basename(folder) for folder in found.records] == ["good"]
    assert str(bad) in found.broken[str(bad)] and str(bad) in capsys.readouterr().err


def as_folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()


def as_circle(path):
    path.unlink(missing_ok=True)
    path.symlink_to(path)


def as_text(path):
    edit(path, lambda config: config["settings"]["method"].update(threshold="high"))


@pytest.mark.parametrize("name, change", [("log.txt", as_folder), ("log.txt", as_circle), ("history.csv", as_folder),
                                          ("config.json", as_text)])
def test_a_run_whose_own_view_is_broken_does_not_end_the_page(tmp_path, capsys, name, change):
    for run in ("good", "bad"):
        samples.write_run(tmp_path / run)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    edit(tmp_path / "bad" / "summary.json", lambda summary: summary.pop("threshold"))
    change(tmp_path / "bad" / name)
    found = document.Runs([str(tmp_path)])
    document.write(found, tmp_path / "index.html")
    assert [os.path.basename(folder) for folder in found.records] == ["good"]
    line, = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "bad") in line


def test_runs_that_are_not_finished(tmp_path):
    run = copy(SEEDS[1], tmp_path, "run")
    (run / "summary.json").unlink()
    lines = (run / "history.csv").read_text().splitlines()
    (run / "history.csv").write_text("\n".join(lines[:4]) + "\n")
    row = records.Record(str(run)).row
    assert (row["status"], row["done"], row["epochs"], row["method"]) == ("training", 3, 200, "SparseVD")
    assert row["error"] == float(lines[3].split(",")[lines[0].split(",").index("test_error_percent")])
    for path in run.iterdir():
        os.utime(path, (1e9, 1e9))
    assert records.Record(str(run)).row["status"] == "stopped"


def test_a_command_that_was_not_quoted(tmp_path):
    run = copy(SEEDS[1], tmp_path, "run")
    (run / "summary.json").unlink()
    edit(run / "config.json", lambda config: config.update(command="experiments/x.py --variant Bob's --k 2"))
    assert records.Record(str(run)).row["flags"] == "--variant Bob's --k 2"


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        document.Runs([str(tmp_path / "nowhere")])


def test_long_runs_are_thinned():
    history = [{"epoch": float(epoch), "test_nll": 1 / epoch} for epoch in range(1, 2001)]
    columns = records._columns(history, 100)
    assert len(columns["epoch"]) == 100 and columns["epoch"][0] == 1 and columns["epoch"][-1] == 2000


def test_published_rows_have_a_source():
    rows = records.references()
    assert len(rows) == len(published.rows()) + len(published.RANDOM_LABELS) + len(published.LOGISTIC_REGRESSION) + len(
        published.FRONTIER)
    assert all(row["source"] and row["error"] > 0 for row in rows)
    assert any(row["source"].startswith("Ding") and (row["error"], row["compression"]) == (0.94, 300) for row in rows)


@contextlib.contextmanager
def serving(folder):
    runs = document.Runs([str(folder)])
    with server.make_server(runs) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


def test_the_server_gives_the_runs_files_and_no_others(site):
    (site.parent / "secret.txt").write_text("secret")
    with serving(site) as running:
        def get(path, host="127.0.0.1"):
            connection = http.client.HTTPConnection("127.0.0.1", running.server_address[1], timeout=30)
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers["Content-Type"]

        changes = json.loads(get("/changes?since=0")[1])
        assert len(changes["rows"]) == len(changes["ids"]) == 9 and len(changes["broken"]) == 1
        assert json.loads(get(f"/changes?since={changes['revision']}")[1])["rows"] == []
        href = next(row["href"] for row in changes["rows"] if row["name"] == PICTURED)
        status, body, kind = get(f"/{href}snapshots/filters.gif")
        assert status == 200 and body.startswith(b"GIF8") and kind == "image/gif"
        assert get(f"/{href}log.txt")[2].startswith("text/plain")
        assert json.loads(get(f"/{href}details")[1])["epochs"] == 200
        for path in ("../secret.txt", "..%2f..%2fsecret.txt", "../../secret.txt", "%2fetc%2fpasswd", "", "weights.npz"):
            assert get(f"/{href}{path}")[0] == 404, path
        assert get("/runs/99/log.txt")[0] == get("/runs/x/log.txt")[0] == 404
        assert get(f"/{href}log%00.txt")[0] == 404
        assert get("/changes?since=" + "9" * 5000)[0] == get("/changes?since=x")[0] == get("http://[/")[0] == 400
        assert get("/", host="somewhere.example")[0] == get("/", host="[")[0] == 403
        assert get("/", host=f"localhost:{running.server_address[1]}")[0] == 200


def test_who_does_not_read_holds_up_nobody_and_another_servers_page_gets_nothing(site):
    with serving(site) as running:
        host, port = running.server_address[:2]
        asleep = socket.create_connection((host, port))
        asleep.sendall(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        asleep.recv(1)

        def get(path):
            connection = http.client.HTTPConnection(host, port, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        changes = json.loads(get("/changes")[1])
        href = changes["rows"][0]["href"]
        assert get(f"/{href}details")[0] == 200 and changes["live"] in href
        assert get(f"/{href.replace(changes['live'], '0' * 32)}details")[0] == 404
        asleep.close()


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if importlib.util.find_spec("selenium") is None:
        pytest.skip("selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium and chromedriver: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    found.downloads = tmp_path_factory.mktemp("downloads")
    found.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(found.downloads)})
    yield found
    found.quit()


@pytest.fixture
def page(browser, site):
    yield Page(browser, f"file://{site}/index.html")
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert browser.execute_script("return window.hacked") is None


class Page:
    """The page in the browser, in words."""

    def __init__(self, browser, url):
        self.browser = browser
        browser.get("about:blank")
        browser.get_log("browser")
        browser.get(url)
        self.until(lambda: self.js("return document.querySelectorAll('.point').length"))

    def js(self, code, *arguments):
        return self.browser.execute_script(code, *arguments)

    def until(self, claim, seconds=20):
        end = time.monotonic() + seconds
        while not claim():
            assert time.monotonic() < end, f"not within {seconds} s: {self.text()[:500]}"
            time.sleep(0.1)

    def text(self):
        return self.js("return document.body.innerText")

    def find(self, selector):
        self.until(lambda: self.js("return document.querySelector(arguments[0])", selector))
        return self.js("return document.querySelector(arguments[0])", selector)

    def button(self, text):
        return self.js("return [...document.querySelectorAll('button, a')].find("
                       "one => one.textContent.trim() === arguments[0])", text)

    def column(self, title):
        """The cells of a column of the table."""
        return self.js("""const place = [...document.querySelectorAll('.runs thead th')].findIndex(
            head => head.textContent.trim() === arguments[0]);
            return [...document.querySelectorAll('.runs tbody tr')].map(row => row.children[place].innerText.trim());
            """, title)

    def choose(self, label, text):
        self.js("""const field = [...document.querySelectorAll('label.field')].find(
                one => one.firstChild.textContent === arguments[0]);
            const select = field.querySelector('select');
            select.value = [...select.options].find(one => one.textContent === arguments[1]).value;
            select.dispatchEvent(new Event('change'));""", label, text)

    def tick(self, label):
        self.js("[...document.querySelectorAll('label.tick')].find(one => one.textContent === arguments[0]).click()",
                label)

    def go(self, view):
        """Shows another view; its own contents are all that is found afterwards."""
        self.js("document.getElementById('main').append(Object.assign(document.createElement('i'), {id: 'leaving'}));"
                "location.hash = arguments[0]", f"#/{view}")
        self.until(lambda: not self.js("return document.getElementById('leaving')"))

    def open(self, name):
        self.button(name).click()
        self.until(lambda: self.heading() == name)

    def heading(self):
        return self.js("return document.querySelector('h2')?.textContent")

    def points(self):
        """The runs and published rows in the chart."""
        return self.js("return document.querySelector('.chart').data.flatMap(trace => trace.customdata)")

    def downloaded(self, name):
        self.until(lambda: (self.browser.downloads / name).exists())
        with open(self.browser.downloads / name, newline="") as file:
            return list(csv.DictReader(file))


def test_table_is_sorted_and_marks_the_papers_rows(page):
    assert page.column("Run").count("the paper's") + page.column("Run").count("the poster's") >= 30
    page.button("Error %").click()
    errors = [float(text) for text in page.column("Error %")]
    assert errors == sorted(errors) and len(errors) > 60
    assert page.find("th[aria-sort=ascending]").text.startswith("Error %")
    page.button("Error %").click()
    assert [float(text) for text in page.column("Error %")] == errors[::-1]
    page.button("Compression").click()
    numbers = [text for text in page.column("Compression")]
    assert numbers[-1] == "" or numbers[-1] == "all pruned"    # What has no number is last.


def test_filters_hold_for_table_and_chart(page):
    everything = len(page.points())
    page.choose("Network", "LeNet-300-100")
    assert set(page.column("Network")) == {"LeNet-300-100"} and len(page.points()) < everything
    page.tick("Published")
    assert len(page.column("Run")) == len(page.points()) == 5
    page.choose("Method", "Dense")
    assert page.column("Run") == ["lenet_300_100-mnist-dense-seed1"]
    page.button("Clear").click()
    page.find("#search").send_keys("--augment mnist")
    found = page.column("Start, flags")
    assert found and all("--augment" in text for text in found)


def test_groups_over_seeds(page):
    page.choose("Network", "LeNet-300-100")
    page.choose("Method", "SparseVD")
    page.tick("Published")
    page.tick("Group over seeds")
    errors = [results.read_summary(os.path.join(COMMITTED, name))["test_error_percent"] for name in SEEDS]
    mean, deviation = results.mean_and_deviation(errors)
    assert page.column("Error %") == [f"{mean:.2f} ± {deviation:.2f}"]
    assert page.column("Seed") == ["1, 2, 3, 4"]
    page.button("4 runs").click()
    page.until(lambda: "4 runs compared" in page.text())


def test_a_point_opens_its_run(page):
    from selenium.webdriver import ActionChains
    page.choose("Network", "VGG-like, k = 0.25")
    page.choose("Method", "SparseVD")
    page.tick("Published")
    page.until(lambda: len(page.points()) == 1)
    page.js("document.querySelector('.chart').scrollIntoView({block: 'center'})")
    place = page.js("const box = document.querySelector('.chart .point').getBoundingClientRect(); "
                    "return [Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)]")
    actions = ActionChains(page.browser)
    actions.w3c_actions.pointer_action.move_to_location(*place)
    actions.perform()
    page.until(lambda: "error 22.07 %" in (page.js("return document.querySelector('.hoverlayer')?.textContent") or ""))
    actions = ActionChains(page.browser)
    actions.w3c_actions.pointer_action.move_to_location(*place).click()
    actions.perform()
    page.until(lambda: page.heading() == "vgg_like-cifar10_q75-k0.25-18-epochs-seed1")
    assert page.js("return [...document.querySelectorAll('.chart')].map(one => one.data[0].type)") == [
        "scatter", "scatter", "heatmap", "scatter", "bar"]


def test_a_run_shows_what_its_folder_holds(page):
    page.open(PICTURED)
    for text in ("0.64 %", "190×", "--augment", "4df3c9d464c87781a2fdbe9196fc8cf182067517", "MKL",
                 "snapshots/filters.gif", "Starts from results/lenet5_caffe-mnist-dense-seed1/weights.npz"):
        assert text in page.text()
    page.js("document.querySelector('.pictures').scrollIntoView()")
    page.until(lambda: page.js("return [...document.querySelectorAll('.pictures img')].every("
                               "one => one.naturalWidth > 100)"))
    titles = page.js("return [...document.querySelectorAll('.chart')].map(one => [one.ariaLabel, one.data.length])")
    assert titles == [["Error", 2], ["Loss, -log p(y | x)", 3], ["Sparsity by layer", 4], ["Compression", 1],
                      ["Weights by layer", 2]]
    page.button("History as CSV").click()
    rows = page.downloaded(f"{PICTURED}.csv")
    assert len(rows) == 200 and float(rows[-1]["test_error_percent"]) == 0.64


def test_a_language_model_shows_its_bits_and_what_is_left(page):
    page.open(TEXTS)
    charts = page.js("return [...document.querySelectorAll('.chart')].map(one => [one.ariaLabel, "
                     "one.data.map(line => line.name), one.layout.yaxis.title.text])")
    assert charts[0][:2] == ["Error", ["train", "valid", "test"]]
    assert charts[1] == ["Loss, -log p(y | x)", ["valid", "test"], "bits a character"]
    assert charts[4][:2] == ["Parts left", ["words", "neurons"]]
    assert "1.234" in page.text() and "1.105" not in page.text()    # the finished network's, not the last epoch's


def test_two_runs_compared(page):
    for name in (SEEDS[0], PICTURED):
        page.find(f"input[aria-label='Compare {name}']").click()
    page.button("Compare 2 runs").click()
    page.until(lambda: page.js("return document.querySelectorAll('.chart .main-svg').length"))
    settings = page.js("return [...document.querySelectorAll('.compared')].at(-1).innerText")
    assert "lenet-300-100\tlenet-5-caffe" in settings and "threshold" not in settings
    assert page.js("return document.querySelector('.chart').data.map(trace => trace.y.length)") == [200, 200]
    page.tick("Show all")
    assert "method.threshold\t3\t3" in page.js("return [...document.querySelectorAll('.compared')].at(-1).innerText")
    page.button("Histories as CSV").click()
    assert {row["run"] for row in page.downloaded("comparison.csv")} == {f"results/{SEEDS[0]}", f"results/{PICTURED}"}


def test_the_threshold_is_moved(page):
    from selenium.webdriver import ActionChains, Keys
    page.open(SEEDS[0])
    output = page.find("#at-threshold")
    assert "log α < 3" in output.text and "error 1.70 %" in output.text and "170×" in output.text
    slider = page.find("input[type=range]")
    slider.send_keys(Keys.ARROW_LEFT * 4)
    assert "log α < 2" in output.text and "error 1.80 %" in output.text and "180×" in output.text
    assert slider.get_attribute("aria-valuetext") == "log alpha below 2: error 1.80 %, compression 180×"
    histogram = page.find("[aria-label^='log α']")
    page.js("arguments[0].scrollIntoView({block: 'center'})", histogram)
    handle = page.js("const box = arguments[0].querySelector('.shapelayer path').getBoundingClientRect();"
                     "return [box.x + box.width / 2, box.y + 120].map(Math.round)", histogram)
    pixels = page.js("return arguments[0]._fullLayout.xaxis._length / 16", histogram)
    actions = ActionChains(page.browser)
    actions.w3c_actions.pointer_action.move_to_location(*handle).pointer_down().move_to_location(
        handle[0] - 20, handle[1]).move_to_location(round(handle[0] - 4 * pixels), handle[1] + 5).pointer_up()
    actions.perform()
    page.until(lambda: re.search(r"log α < -[12]\.?", output.text))
    assert page.js("return arguments[0].layout.shapes[0].y0", histogram) == 0


def test_text_of_runs_stays_text(page):
    assert HOSTILE in page.js("return [...document.querySelectorAll('.runs a')].map(one => one.textContent)")
    assert "<b>broken" in page.js("return document.querySelector('details').textContent")
    page.open(HOSTILE)
    assert EVIL in page.js("return document.querySelector('pre').textContent")
    assert page.js("return document.querySelectorAll('img[src=x], b[onclick]').length") == 0
    page.browser.get(page.browser.current_url.partition("#")[0] + "#/")
    page.until(lambda: page.js("return document.querySelectorAll('.point').length"))
    for name in (SEEDS[0], HOSTILE):
        page.js("[...document.querySelectorAll('input')].find(one => one.ariaLabel === arguments[0]).click()",
                f"Compare {name}")
    page.button("Compare 2 runs").click()
    page.until(lambda: page.js("return document.querySelectorAll('.chart .main-svg').length"))
    page.tick("Show all")
    assert EVIL in page.js("return [...document.querySelectorAll('.compared')].at(-1).textContent")
    assert page.js("return document.querySelectorAll('img[src=x], b[onclick]').length") == 0


def test_keyboard(page):
    from selenium.webdriver import ActionChains, Keys
    ActionChains(page.browser).send_keys("/").perform()
    assert page.js("return document.activeElement.id") == "search"
    ActionChains(page.browser).send_keys("vgg_like").perform()
    page.until(lambda: len(page.column("Run")) == 1)
    page.js("document.querySelector('.runs tbody a').focus()")
    ActionChains(page.browser).send_keys(Keys.ENTER).perform()
    page.until(lambda: page.js("return document.activeElement.tagName") == "H2")


def test_narrow_screens_and_both_grounds(page):
    grounds = set()
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                 {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True})
    try:
        for scheme in ("light", "dark"):
            page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                         {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
            for view in ("", f"run/results%2F{SEEDS[0]}", f"compare/results%2F{SEEDS[0]},results%2F{PICTURED}"):
                page.go(view)
                page.until(lambda: page.js("return document.querySelectorAll('.chart .main-svg').length") >= 2)
                assert page.js("return document.documentElement.scrollWidth") <= 390, view
                grounds.add(page.js("return getComputedStyle(document.body).backgroundColor"))
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(grounds) == 2


def test_a_training_run_is_followed(browser, tmp_path):
    run = copy(SEEDS[0], tmp_path, "trains")
    lines = (run / "history.csv").read_text().splitlines()
    summary = (run / "summary.json").read_text()
    (run / "summary.json").unlink()

    def epochs(count):
        (run / "history.part").write_text("\n".join(lines[:count + 1]) + "\n")
        os.replace(run / "history.part", run / "history.csv")

    epochs(3)
    with serving(tmp_path) as running:
        page = Page(browser, running.url)
        page.until(lambda: "3/200" in page.column("Epochs"))
        epochs(4)
        page.until(lambda: "4/200" in page.column("Epochs"))
        page.open("trains")
        epochs(5)
        page.until(lambda: page.js("return document.querySelector('.chart').data?.[0].x.length") == 5)
        assert "5 of 200" in page.text() and "training" in page.text()
        copy(SEEDS[1], tmp_path)
        epochs(200)
        (run / "summary.json").write_text(summary)
        page.until(lambda: "finished" in page.text() and "2 runs" in page.text())
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_thousand_runs(browser, tmp_path):
    source = os.path.join(COMMITTED, PICTURED)
    history = results.history(source)
    names = list(history[0])
    values = np.array([list(row.values()) for row in history])
    rng = np.random.default_rng(0)
    thousand = tmp_path / "results"
    for number in range(1000):
        run = thousand / f"run-{number:04d}"
        run.mkdir(parents=True)
        for name in ("config.json", "summary.json", "log.txt"):
            shutil.copy(os.path.join(source, name), run / name)
        noisy = values * rng.uniform(0.9, 1.1, values.shape)
        noisy[:, 0] = values[:, 0]
        np.savetxt(run / "history.csv", noisy, "%.15g", ",", header=",".join(names), comments="")
        add_thresholds(run)
    runs = document.Runs([str(thousand)])
    document.write(runs, str(thousand / "index.html"))
    assert len(runs.records) == 1000 and os.path.getsize(thousand / "index.html") <= 15e6
    page = Page(browser, f"file://{thousand}/index.html")
    assert "1,000 runs" in page.text() and "Show all" in page.text()
