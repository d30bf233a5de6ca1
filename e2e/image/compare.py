#!/usr/bin/env python3
"""compare.py A.tar B.tar: do two docker-archives hold the same image?

Compares the names, kinds, modes and owners of all files, the contents of small ones (configuration),
and what the image says about itself: user, environment, entry point, ports, volumes, folder.
Contents of programs may differ: they are built twice.
"""
import hashlib
import io
import json
import sys
import tarfile

CONTENT_BYTES_MAX = 4096


def image_of(path):
    files = {}
    with tarfile.open(path) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        config = json.load(archive.extractfile(manifest["Config"]))
        for layer in manifest["Layers"]:
            member = archive.getmember(layer)
            if member.issym():  # some tools store equal layers once
                member = archive.getmember(member.linkname.lstrip("./"))
            with tarfile.open(fileobj=io.BytesIO(archive.extractfile(member).read())) as tar:
                for entry in tar:
                    name = "/" + entry.name.strip("./")
                    if name != "/":
                        files[name] = describe(tar, entry)
    return files, about(config.get("config", {}))


def describe(tar, entry):
    if entry.issym():
        return f"link to {entry.linkname}"
    kind = "folder" if entry.isdir() else "file"
    text = f"{kind} {entry.mode & 0o7777:o} {entry.uid}:{entry.gid}"
    if entry.isfile() and entry.size <= CONTENT_BYTES_MAX:
        text += " " + hashlib.sha256(tar.extractfile(entry).read()).hexdigest()[:12]
    return text


def about(config):
    return {
        "user": config.get("User", ""),
        "env": sorted(config.get("Env") or []),
        "entrypoint": config.get("Entrypoint") or [],
        "cmd": config.get("Cmd") or [],
        "ports": sorted(config.get("ExposedPorts") or {}),
        "volumes": sorted(config.get("Volumes") or {}),
        "workdir": config.get("WorkingDir") or "/",
    }


def main():
    (files_a, about_a), (files_b, about_b) = image_of(sys.argv[1]), image_of(sys.argv[2])
    differences = []
    for name in sorted(files_a.keys() | files_b.keys()):
        a, b = files_a.get(name, "missing"), files_b.get(name, "missing")
        if a != b:
            differences.append(f"{name}: {a} / {b}")
    for key in about_a:
        if about_a[key] != about_b[key]:
            differences.append(f"{key}: {about_a[key]} / {about_b[key]}")
    for line in differences:
        print(line)
    programs = sorted(n for n in files_a if n.startswith("/usr/local/bin/"))
    print(f"{len(files_a)} files, {len(differences)} differences; {' '.join(programs)}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
