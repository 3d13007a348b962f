"""Do the deployment files agree with the binaries, and with each other?

In:  deploy/, the Markdown pages, and the release binaries (argument: their directory).
Out: one line per check; exit code 1 when one failed.
Not here: schemas of manifests and the Dockerfile rules, which check.sh leaves to kubectl, kubernetes-validate and
hadolint.
"""

import functools
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
KUSTOMIZATIONS = tuple(path.parent for path in sorted((ROOT / "deploy").glob("*/kustomization.yaml")))
BINARIES = ("fleetprof", "fleetprof-agent", "fleetprof-collector")
# `make test` builds it, `make build` does not.
OPTIONAL = ("fleetprof-iceberg",)
# What every Debian has (liblzma: dpkg itself needs it); everything else would have to be installed in the image.
BASE_LIBRARIES = {"linux-vdso.so.1", "libc.so.6", "libm.so.6", "libgcc_s.so.1", "liblzma.so.5"}


# === the binaries' own words ===


class Help:
    """`--help` of a binary and of its subcommands."""

    def __init__(self, directory: pathlib.Path):
        self.directory = directory

    @functools.cache
    def text(self, binary: str, subcommand: str | None = None) -> str:
        command = [self.directory / binary, *([subcommand] if subcommand else []), "--help"]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout

    def is_there(self, binary: str) -> bool:
        return binary not in OPTIONAL or (self.directory / binary).exists()

    def subcommands(self, binary: str) -> set[str]:
        section = re.search(r"^Commands:\n((?: .*\n|\n)+)", self.text(binary), re.MULTILINE)
        return set(re.findall(r"^  ([a-z][a-z-]*)", section.group(1), re.MULTILINE)) if section else set()

    def complaints(self, words: list[str]) -> list[str]:
        """What is wrong with a command line, by the binaries' own help."""
        binary, arguments = pathlib.PurePath(words[0]).name, words[1:]
        known = self.subcommands(binary)
        subcommand = next((word for word in arguments if word in known), None)
        needed = known and re.search(r"^Usage:.*COMMAND", self.text(binary), re.MULTILINE)
        if needed and subcommand is None and not {"--help", "--version"} & set(arguments):
            return [f"no subcommand of {binary} in: {' '.join(words)}"]
        texts = self.text(binary) + (self.text(binary, subcommand) if subcommand else "")
        flags = {word.split("=", 1)[0] for word in arguments if re.match(r"--?[a-z]", word)}
        return [
            f"{binary} {subcommand or ''} has no option {flag}: {' '.join(words)}"
            for flag in sorted(flags)
            if not re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", texts)
        ]


# === the command lines in the files ===


@functools.cache
def manifests(kustomization: pathlib.Path) -> list[dict]:
    """What `kubectl apply -k` would send."""
    command = ["kubectl", "kustomize", kustomization]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
    return list(yaml.safe_load_all(rendered))


def templates(documents: list[dict]) -> list[dict]:
    return [d["spec"]["template"] for d in documents if d["kind"] in ("DaemonSet", "Deployment")]


def containers(kustomization: pathlib.Path) -> list[dict]:
    return [c for template in templates(manifests(kustomization)) for c in template["spec"]["containers"]]


def unit(path: pathlib.Path) -> dict[str, list[str]]:
    """Settings of a systemd unit, each with all its values; refuses what is not a setting."""
    settings: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith(("#", "[")):
            continue
        match = re.fullmatch(r"([A-Z][A-Za-z]+)=(.*)", line)
        if not match:
            raise ValueError(f"{path.name}:{number}: not a setting: {line}")
        settings.setdefault(match[1], []).append(match[2])
    return settings


def units() -> list[tuple[str, dict[str, list[str]]]]:
    return [(path.name, unit(path)) for path in sorted((ROOT / "deploy/systemd").glob("*.service"))]


def dockerfile_instruction(path: pathlib.Path, name: str) -> list[str]:
    lines = [line for line in path.read_text().splitlines() if line.startswith(name + " [")]
    return json.loads(lines[-1].removeprefix(name)) if lines else []


def markdown_commands(path: pathlib.Path) -> list[list[str]]:
    commands = []
    for block in re.findall(r"^```(?:sh|bash|console|shell)\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            words = words[1:] if words[:1] == ["sudo"] else words
            if words and pathlib.PurePath(words[0]).name in BINARIES + OPTIONAL:
                end = next((i for i, word in enumerate(words) if word in ("|", ">", "&", "&&", ";")), len(words))
                commands.append(words[:end])
    return commands


def command_lines() -> list[tuple[str, list[str]]]:
    """Every call of a binary in the deployment files and the Markdown pages, with the file it is in."""
    found = []
    for kustomization in KUSTOMIZATIONS:
        for container in containers(kustomization):
            binary = container["image"].split(":")[0].rsplit("/", 1)[-1]
            words = [*container.get("command", [binary]), *container.get("args", [])]
            found.append((kustomization.name, words))
    for name, settings in units():
        for start in settings["ExecStart"]:
            found.append((name, [word for word in shlex.split(start) if word != "$OPTIONS"]))
    for path in sorted((ROOT / "deploy/docker").glob("*Dockerfile")):
        found.append((path.name, dockerfile_instruction(path, "ENTRYPOINT") + dockerfile_instruction(path, "CMD")))
    pages = [ROOT / "README.md", ROOT / "deploy/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for path in pages:
        if path.exists():
            found += [(str(path.relative_to(ROOT)), words) for words in markdown_commands(path)]
    return found


# === checks: each returns its complaints ===


def options_exist(help_: Help) -> list[str]:
    lines = command_lines()
    if not {"kubernetes", "kubernetes-fleet", "fleetprof-agent.service", "agent.Dockerfile"} <= {name for name, _ in lines}:
        return ["the search for command lines misses files that have one"]
    lines = [(name, words) for name, words in lines if help_.is_there(pathlib.PurePath(words[0]).name)]
    return [f"{name}: {complaint}" for name, words in lines for complaint in help_.complaints(words)]


def capabilities_agree(_: Help) -> list[str]:
    service = dict(units())["fleetprof-agent.service"]["CapabilityBoundingSet"][0].split()
    complaints = []
    for kustomization in KUSTOMIZATIONS:
        agents = [c for c in containers(kustomization) if c["name"] == "agent"]
        pods = [c["securityContext"]["capabilities"]["add"] for c in agents]
        if [sorted(f"CAP_{name}" for name in pod) for pod in pods] != [sorted(service)]:
            complaints.append(f"{kustomization.name} adds {pods}, fleetprof-agent.service keeps {sorted(service)}")
    return complaints


def kustomizations_are_complete(_: Help) -> list[str]:
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    complaints = []
    for folder in KUSTOMIZATIONS:
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
        patches = {patch["path"] for patch in kustomization.get("patches", []) if "path" in patch}
        listed = {name for name in kustomization["resources"] if name.endswith(".yaml")} | patches
        complaints += [f"{folder.name}: {name} is not both listed and there" for name in sorted(files ^ listed)]
        named = {image["name"] for image in kustomization["images"]}
        used = {container["image"].rsplit(":", 1)[0] for container in containers(folder)}
        if named != used:
            complaints.append(f"{folder.name}: names the images {sorted(named)}, has {sorted(used)}")
        tags = {c["image"].split(":")[1] for c in containers(folder)} | {i["newTag"] for i in kustomization["images"]}
        if tags != {version}:
            complaints.append(f"{folder.name}: tags are {sorted(tags)}, the workspace's version is {version}")
    return complaints


def selectors_meet(_: Help) -> list[str]:
    """A Service without pods and a volume without its claim pass every schema."""
    return [f"{path.name}: {complaint}" for path in KUSTOMIZATIONS for complaint in complaints_of(manifests(path))]


def complaints_of(documents: list[dict]) -> list[str]:
    complaints = []
    claims = {d["metadata"]["name"] for d in documents if d["kind"] == "PersistentVolumeClaim"}
    accounts = {d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount"}
    classes = {d["metadata"]["name"] for d in documents if d["kind"] == "PriorityClass"}
    wanted_claims = set()
    for document in documents:
        selector = {
            "Service": lambda spec: spec["selector"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        }.get(document["kind"])
        if selector:
            labels = selector(document["spec"]).items()
            if not any(labels <= template["metadata"]["labels"].items() for template in templates(documents)):
                complaints.append(f"{document['kind']} {document['metadata']['name']} selects no pod")
    for template in templates(documents):
        spec = template["spec"]
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        mounts = {mount["name"] for container in spec["containers"] for mount in container.get("volumeMounts", [])}
        of_claims = [v["persistentVolumeClaim"] for v in spec.get("volumes", []) if "persistentVolumeClaim" in v]
        wanted = {claim["claimName"] for claim in of_claims}
        wanted_claims |= wanted
        for what, missing in (
            ("volumes without a mount or mounts without a volume", volumes ^ mounts),
            ("claims that no manifest makes", wanted - claims),
            ("service accounts that no manifest makes", {spec["serviceAccountName"]} - accounts),
            ("priority classes that no manifest makes", {spec.get("priorityClassName")} - classes - {None}),
        ):
            if missing:
                complaints.append(f"{what}: {sorted(missing)}")
    if claims - wanted_claims:
        complaints.append(f"claims that no pod has: {sorted(claims - wanted_claims)}")
    return complaints


def images_have_the_libraries(help_: Help) -> list[str]:
    complaints = []
    for binary in filter(help_.is_there, BINARIES + OPTIONAL):
        output = subprocess.run(["ldd", help_.directory / binary], capture_output=True, text=True, timeout=20)
        # A static binary is fine, too; ldd says so with an error code.
        names = {pathlib.PurePath(line.split()[0]).name for line in output.stdout.splitlines() if ".so" in line}
        extra = {name for name in names - BASE_LIBRARIES if not name.startswith("ld-linux")}
        if extra:
            complaints.append(f"{binary} needs {sorted(extra)}, which the final images do not install")
    return complaints


CHECKS = {
    "every option in manifests, units, Dockerfiles and pages exists": options_exist,
    "pod and unit give the agent the same capabilities": capabilities_agree,
    "the kustomizations list every manifest, with this version's images": kustomizations_are_complete,
    "services, volumes, accounts and classes refer to what is there": selectors_meet,
    "the slim images have every library the binaries need": images_have_the_libraries,
}


def main() -> int:
    help_ = Help(pathlib.Path(sys.argv[1]))
    failed = False
    for name, check in CHECKS.items():
        complaints = check(help_)
        print(f"{'FAILED' if complaints else 'ok'} - {name}")
        for complaint in complaints:
            print(f"    {complaint}")
        failed |= bool(complaints)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
