"""The pages for people: links lead somewhere, and what they name exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "infra/README.md",
]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
SOURCES = ("router", "statemachine", "provisioner")
PROMISES = ("README.md", "SECURITY.md", "CONTRIBUTING.md", "docs/architecture.md")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors_of(page: Path) -> set[str]:
    """As GitHub makes them of headings, and those that are written out."""
    text = text_of(page)
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    made = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: there is no such file"
        if anchor:
            assert anchor in anchors_of(target), f"{link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_codes_on_a_page_exist(page: Path) -> None:
    known = set(re.findall(r"TPR-\d{4}", text_of(ROOT / "docs/errors.md")))
    assert set(re.findall(r"TPR-[1-5]\d{3}\b", text_of(page))) <= known


def test_the_index_names_every_page() -> None:
    index = text_of(ROOT / "docs/README.md")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert sorted(name for name in pages if f"({name}" not in index) == []


@pytest.mark.parametrize("name", PROMISES)
def test_paths_on_a_page_exist(name: str) -> None:
    """`tests/...` in full; a file's bare name in the same cell is one of that folder, or any."""
    text = text_of(ROOT / name)
    for path in re.findall(r"`((?:tests|infra|router|statemachine|migrations)/[\w./-]*\w)", text):
        if not re.search(r"NNNN|\.\.\.", path):
            assert (ROOT / path).exists(), path
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"`(test_\w+\.py)`", text)) <= tests


def test_the_architecture_names_every_package() -> None:
    page = text_of(ROOT / "docs/architecture.md")
    for root in SOURCES:
        [package] = (ROOT / root).glob("torpor_*")
        for folder in package.iterdir():
            public = (folder / "__init__.py").exists() and folder.name not in _NOT_ROOMS
            if public:
                assert f"`{folder.name}`" in page or f".{folder.name}`" in page, folder


_NOT_ROOMS = {"bootstrap", "sample", "processes"}  # named on their provisioners' pages


def test_the_modules_that_hold_a_promise_exist() -> None:
    page = text_of(ROOT / "docs/architecture.md")
    table = page.split("## Each promise")[1]
    for path in re.findall(r"`([a-z0-9_]+/[a-z_]+\.py|[a-z_]+\.py)`", table):
        if not path.startswith("test_"):
            assert any(list((ROOT / root).rglob(path)) for root in SOURCES), path


def test_the_commands_for_contributors_run(tmp_path: Path) -> None:
    text = text_of(ROOT / "CONTRIBUTING.md")
    commands = [
        line.removeprefix("$ ")
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    made = [each.split() for each in commands if each.startswith("make ")]
    pytests = [each.split() for each in commands if "/pytest " in each]
    assert len(commands) == len(made) + len(pytests) + 2, "the two that install pre-commit"
    for words in made:
        subprocess.run([*words, "-n"], cwd=ROOT, capture_output=True, check=True)
    for words in pytests:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", *words[1:]],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_make_believes_the_cas_of_this_machine() -> None:
    """Behind a proxy that inspects TLS, uv's own list would refuse everything."""
    shown = subprocess.run(
        ["make", "-s", "--eval", "show: ; @echo $$UV_SYSTEM_CERTS", "show"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert shown == ("true" if Path("/etc/ssl/certs/ca-certificates.crt").exists() else shown)


def test_the_hooks_are_what_lint_runs() -> None:
    """What pre-commit refuses, `make lint` or the tests refuse too."""
    hooks = re.findall(r"entry: \.venv/bin/(.*)", text_of(ROOT / ".pre-commit-config.yaml"))
    lint = text_of(ROOT / "Makefile").split("\nlint:")[1].split("\n\n")[0]
    for hook in hooks:
        program = " ".join(hook.replace("--force-exclude", "").replace("--check", "").split())
        assert program in lint.replace("--check ", "") or program == "python .ci/docs", hook


def test_the_hosted_workflow_calls_ci_run() -> None:
    workflow = text_of(ROOT / ".github/workflows/ci.yml")
    assert "- run: .ci/run\n" in workflow
    assert "contents: read" in workflow


def test_the_changelog_keeps_its_form() -> None:
    log = text_of(ROOT / "CHANGELOG.md")
    versions = re.findall(r"(?m)^## \[([^\]]+)\]( - \d{4}-\d\d-\d\d)?$", log)
    assert versions[0] == ("Unreleased", "")
    assert all(day for _, day in versions[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"(?m)^### (.*)$", log)) <= kinds


def test_the_readme_is_short() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) < 150
