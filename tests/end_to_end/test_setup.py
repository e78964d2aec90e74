"""`make` and tools/environment.py: from nothing to an environment, and what may go wrong."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "environment.py"
REQUIREMENTS = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines()]
SUPPORTED = [
    {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system.lower(),
        "platform_system": system,
        "platform_machine": machine,
    }
    for python in ("3.11", "3.12", "3.13")
    for system, machine in (("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64"))
]
OLD_PYTHON = "import sys; sys.version_info = (3, 8, 18, 'final', 0)"
NO_ENSUREPIP = "import sys; sys.modules['ensurepip'] = None"
FULL_DISK = (
    "import shutil, types; shutil.disk_usage = lambda path: types.SimpleNamespace(free=4 * 10**8)"
)
AS_SCRIPT = "; import runpy; runpy.run_path('tools/environment.py', run_name='__main__')"


def pack(name: str, folder: Path) -> str:
    """Make a wheel of an installed package, so that pip needs no network; return its pin."""
    package = distribution(name)
    files = [
        file
        for file in package.files or []
        if ".." not in file.parts and "__pycache__" not in file.parts and file.name != "RECORD"
    ]
    [metadata] = {file.parts[0] for file in files if file.parts[0].endswith(".dist-info")}
    with zipfile.ZipFile(folder / f"{name}-{package.version}-py3-none-any.whl", "w") as wheel:
        for file in files:
            wheel.write(str(file.locate()), str(file))
        wheel.writestr(f"{metadata}/RECORD", "".join(f"{file},,\n" for file in files))
    return f"{name}=={package.version}"


class Project:
    """A course of two empty packages, with this repository's pyproject.toml and script."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.python = root / ".venv" / "bin" / "python"
        self.stamp = root / ".venv" / "course.json"
        self.log = root / "_build" / "environment.log"
        for package in ("course_lib", "course_lib/checks", "grading"):
            (root / package).mkdir(parents=True)
            (root / package / "__init__.py").touch()
        (root / "tools").mkdir()
        shutil.copy(SCRIPT, root / "tools")
        shutil.copy(ROOT / "pyproject.toml", root)
        shutil.copy(ROOT / "LICENSE", root)
        self.wheels = root / "wheels"
        self.wheels.mkdir()
        self.pins = [pack(name, self.wheels) for name in ("setuptools", "iniconfig", "pluggy")]
        self.require(*self.pins)
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith("PIP_")
        }
        self.environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": str(self.wheels)}
        self.environment["PIP_NO_INDEX"] = "1"

    def require(self, *lines: str) -> None:
        (self.root / "requirements.txt").write_text("".join(f"{line}\n" for line in lines))

    def set_up(self, prelude: str = "pass") -> subprocess.CompletedProcess[str]:
        """Run the script; `prelude` is run before it and changes what the script finds."""
        return subprocess.run(
            [sys.executable, "-c", prelude + AS_SCRIPT],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def set_up_and_kill(self) -> None:
        """Kill the script, and what it has started, once the first package is in."""
        before = self.packages("iniconfig")
        with subprocess.Popen(
            [sys.executable, "tools/environment.py"],
            cwd=self.root,
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
        ) as process:
            deadline = time.monotonic() + 60
            while self.packages("iniconfig") in (before, set()):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL

    def packages(self, name: str) -> set[int]:
        """The folders of a package in the environment, as what the file system calls them."""
        return {path.stat().st_ino for path in self.root.glob(f".venv/lib/*/site-packages/{name}")}

    def installed(self) -> list[str]:
        command = [self.python, "-m", "pip", "list", "--format=freeze", "--exclude=pip"]
        output = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True
        ).stdout
        return sorted(output.split())

    def expected(self, *pins: str) -> list[str]:
        return sorted([*pins, "neural-network-fundamentals==0.1.0"])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.slow
def test_environment_follows_requirements(project: Project) -> None:
    first = project.set_up()
    assert (first.returncode, first.stderr) == (0, "")
    assert "Installing 3 packages" in first.stdout
    assert project.installed() == project.expected(*project.pins)

    # Nothing has changed: nothing is done, nothing is said, no network is asked.
    project.environment |= {"PIP_FIND_LINKS": "", "PATH": ""}
    written = project.log.stat().st_mtime_ns
    again = project.set_up()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert project.log.stat().st_mtime_ns == written

    # A package that has left requirements.txt leaves the environment too.
    project.environment |= {"PIP_FIND_LINKS": str(project.wheels), "PATH": os.environ["PATH"]}
    project.require(*project.pins[:2])
    changed = project.set_up()
    assert (changed.returncode, changed.stderr) == (0, "")
    assert project.installed() == project.expected(*project.pins[:2])

    # A change of pyproject.toml installs the course again, and nothing else.
    pyproject = project.root / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('version = "0.1.0"', 'version = "0.2.0"'))
    renewed = project.set_up()
    assert (renewed.returncode, renewed.stdout) == (0, "")
    assert "neural-network-fundamentals==0.2.0" in project.installed()


@pytest.mark.slow
def test_package_is_found_beside_a_bare_folder_of_its_name(project: Project) -> None:
    assert project.set_up().returncode == 0
    assignment = project.root / "assignment"
    (assignment / "course_lib").mkdir(parents=True)
    found = subprocess.run(
        [project.python, "-c", "import course_lib; print(course_lib.__file__)"],
        cwd=assignment,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == str(project.root / "course_lib" / "__init__.py")


@pytest.mark.slow
def test_interrupted_setup_is_repaired(project: Project) -> None:
    project.set_up_and_kill()
    assert not project.stamp.exists()
    assert project.set_up().returncode == 0
    assert project.installed() == project.expected(*project.pins)


@pytest.mark.slow
def test_failed_update_keeps_the_old_environment(project: Project) -> None:
    assert project.set_up().returncode == 0
    stamp = project.stamp.read_text()

    project.require(*project.pins[:2])
    project.set_up_and_kill()
    project.require(*project.pins, "no-such-package==1.0")
    failed = project.set_up()

    assert failed.returncode == 1
    assert "no-such-package==1.0" in failed.stderr
    assert f"no build for Python {sys.version_info[0]}.{sys.version_info[1]}" in failed.stderr
    assert project.stamp.read_text() == stamp
    assert project.installed() == project.expected(*project.pins)
    assert not (project.root / ".venv.old").exists()


@pytest.mark.slow
def test_no_network(project: Project) -> None:
    del project.environment["PIP_NO_INDEX"]
    project.environment |= {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "1",
    }
    failed = project.set_up()
    assert failed.returncode == 1
    assert "pip could not install the packages" in failed.stderr
    assert "check the connection and run the same command again" in failed.stderr
    assert f"The whole log is {project.log}" in failed.stderr
    assert "Retrying" in project.log.read_text()


@pytest.mark.parametrize(
    ("prelude", "sentence"),
    [
        (OLD_PYTHON, r"needs Python 3\.11 or newer, and \S+ is Python 3\.8\.18\..*PYTHON="),
        (NO_ENSUREPIP, r"venv and ensurepip modules are missing\..*python3\.\d+-venv"),
        (FULL_DISK, r"need about 3\.0 GB of disk, and only 0\.4 GB are free where /"),
    ],
    ids=["old Python", "no ensurepip", "full disk"],
)
def test_what_is_missing_is_said_in_one_sentence(
    project: Project, prelude: str, sentence: str
) -> None:
    failed = project.set_up(prelude)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert re.search(sentence, failed.stderr)
    assert failed.stderr.count("\n") == 1
    assert not (project.root / ".venv").exists()


def test_an_old_python_can_read_the_script() -> None:
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))


def test_requirements_are_names_and_versions_only() -> None:
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+( ; [a-z_]+ .+)?", line), line
        assert not line.startswith(("nvidia-", "cuda-", "triton")), line


@pytest.mark.parametrize("machine", SUPPORTED, ids=lambda machine: " ".join(machine.values()))
def test_requirements_cover_the_project(machine: dict[str, str]) -> None:
    pins = {
        pin.name: str(pin.specifier).removeprefix("==")
        for pin in REQUIREMENTS
        if pin.marker is None or pin.marker.evaluate(machine)
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    for line in [*project["dependencies"], *(line for extra in extras for line in extra)]:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate(machine):
            continue
        assert wanted.specifier.contains(pins[wanted.name.lower()]), line


def test_environment_is_what_requirements_say() -> None:
    for pin in REQUIREMENTS:
        if pin.marker is None or pin.marker.evaluate():
            assert pin.specifier.contains(version(pin.name)), pin


def test_make_lists_every_target() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [phony] = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"^  make (\S+)", shown, re.MULTILINE) == phony.split()[1:]
