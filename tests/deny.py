#!/usr/bin/env python3
"""Licences, bans and sources of all dependencies, by the rules of .deny.toml (the part of cargo-deny that needs no network)."""
import json
import re
import subprocess
import sys
import tomllib

RULES = tomllib.load(open(".deny.toml", "rb"))
ALLOWED = set(RULES["licenses"]["allow"])


def met(expression):
    """Whether an SPDX expression can be met by the allowed licences alone."""
    words = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def take():
        nonlocal position
        position += 1
        return words[position - 1]

    def peek():
        return words[position] if position < len(words) else None

    def either():
        result = both()
        while peek() == "OR":
            take()
            result |= both()
        return result

    def both():
        result = one()
        while peek() == "AND":
            take()
            result &= one()
        return result

    def one():
        word = take()
        if word == "(":
            result = either()
            take()
            return result
        if peek() == "WITH":
            take()
            word = f"{word} WITH {take()}"
        return word in ALLOWED

    return either()


def users(crate, versions):
    """Who uses a crate in the service and its tests; cargo tree, since metadata mixes the features of all members."""
    command = ["cargo", "tree", "--locked", "-p", "scanlogin", "-e", "normal,build,dev", "--prefix", "none", "-f", "{p}", "--depth", "1", "-i"]
    names = set()
    for version in versions:
        run = subprocess.run(command + [f"{crate}@{version}"], capture_output=True, text=True)
        # Not in this part of the tree: nothing is printed, or an error.
        names |= {line.split()[0] for line in run.stdout.splitlines() if line.strip()}
    return names - {crate}


def main():
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--all-features"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    ours = set(metadata["workspace_members"])
    wrong = []
    registries = set(RULES["sources"]["allow-registry"])
    for package in packages.values():
        label = f"{package['name']} {package['version']}"
        if package["id"] not in ours:
            if not package["license"] or not met(package["license"]):
                wrong.append(f"{label}: the licence {package['license']} is not allowed")
            source = package["source"] or "a path"
            if source.removeprefix("registry+") not in registries:
                wrong.append(f"{label}: comes from {source}")
        else:
            for dependency in package["dependencies"]:
                if dependency["req"] == "*" and not dependency.get("path"):
                    wrong.append(f"{label}: any version of {dependency['name']} would do")
    for ban in RULES["bans"]["deny"]:
        versions = {package["version"] for package in packages.values() if package["name"] == ban["crate"]}
        strangers = users(ban["crate"], versions) - set(ban.get("wrappers", []))
        if strangers:
            wrong.append(f"{ban['crate']}: {ban['reason']}; used by {', '.join(sorted(strangers))}")
    print("\n".join(wrong) or f"{len(packages)} packages are as .deny.toml wants them")
    return 1 if wrong else 0


# A check that cannot fail would be none.
assert met("MIT OR GPL-3.0") and met("(MIT OR GPL-3.0) AND Apache-2.0 WITH LLVM-exception")
assert not met("GPL-3.0") and not met("MIT AND GPL-3.0")
sys.exit(main())
