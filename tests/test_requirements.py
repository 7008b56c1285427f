"""The files around the code agree with each other: README, requirements, Space settings, CI."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def requirement_lines(name: str) -> list[str]:
    """Requirements of a file without comments."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text("utf-8").splitlines())
    return [line for line in lines if line]


def requirement_names(name: str) -> set[str]:
    """Lower-case package names of a requirements file."""
    return {re.split(r"[\[<>=!~ ]", line)[0].lower() for line in requirement_lines(name) if not line.startswith("-")}


def front_matter() -> dict[str, str]:
    """The Space settings at the top of the README, first level only."""
    block = README.split("---\n")[1]
    pairs = (line.split(":", 1) for line in block.splitlines() if re.match(r"\w+:", line))
    return {key: value.strip().strip('"') for key, value in pairs}


def test_space_uses_the_pinned_gradio():
    pinned = next(line for line in requirement_lines("requirements.txt") if line.startswith("gradio["))
    assert pinned == f"gradio[oauth,mcp]=={front_matter()['sdk_version']}"


def test_space_settings():
    settings = front_matter()
    assert settings["sdk"] == "gradio"
    assert settings["app_file"] == "app.py" and (ROOT / "app.py").is_file()
    assert settings["python_version"] in ("3.12", "3.10.13", "3.12.12")
    assert len(settings["short_description"]) <= 60
    assert settings["license"] == "apache-2.0"


def test_nothing_that_breaks_cpu_machines_is_required():
    names = requirement_names("requirements.txt")
    assert not names & {"torchvision", "opencv-python", "opencv-python-headless", "lpips", "nvdiffrast", "gsplat"}
    assert "spaces" in requirement_lines("requirements.txt"), "the platform chooses the version of spaces"
    assert next(line for line in requirement_lines("requirements.txt") if line.startswith("torch")).startswith(
        "torch>=2.8,"
    )


def test_installed_packages_satisfy_the_requirements():
    from importlib.metadata import version

    from packaging.requirements import Requirement

    for line in requirement_lines("requirements.txt"):
        wanted = Requirement(line)
        assert wanted.specifier.contains(version(wanted.name), prereleases=True), line


def imported_packages() -> set[str]:
    """Third-party packages that the program imports, by their name on the package index."""
    names = set()
    for source in [ROOT / "app.py", *(ROOT / "pipeline").rglob("*.py")]:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.split(".")[0])
    on_index = {"PIL": "pillow", "cv2": "opencv-contrib-python", "skimage": "scikit-image", "yaml": "pyyaml",
                "c2pa": "c2pa-python"}  # fmt: skip
    packages = {on_index.get(name, name.replace("imageio_ffmpeg", "imageio-ffmpeg")) for name in names}
    return packages - set(sys.stdlib_module_names) - {"pipeline"}


def test_everything_imported_is_required():
    optional = {"gsplat", "nvdiffrast", "ray", "triton", "warp"}  # triton comes with CUDA builds of torch
    assert imported_packages() - optional <= requirement_names("requirements.txt")


@pytest.mark.parametrize("path", [".ci/run"])
def test_ci_runs_the_readme_commands(path):
    blocks = re.findall(r"```bash\n(.*?)```", README, re.S)
    install, test = blocks[0].strip(), blocks[1].strip()
    script = (ROOT / path).read_text("utf-8")
    assert test in script.splitlines()
    assert "pip install --no-deps torch==2.13.0 --extra-index-url" in install
    assert install.endswith("pip install -r requirements.txt && python app.py")
    assert (ROOT / path).stat().st_mode & 0o111


def test_packages_txt_is_one_plain_name_per_line():
    lines = (ROOT / "packages.txt").read_text("utf-8").splitlines()
    assert lines and all(re.fullmatch(r"[a-z0-9.+-]+", line) for line in lines)


def test_licence_and_attribution_are_complete():
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")
    assert len((ROOT / "LICENSE").read_text("utf-8").splitlines()) > 195
    text = (ROOT / "ATTRIBUTION.md").read_text("utf-8")
    for name in ("Anny", "MakeHuman", "CC0", "MediaPipe", "SMPL-X", "imageio-ffmpeg", "Intel"):
        assert name in text


def test_links_in_the_readme_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), f"README links to {target}, which does not exist"
