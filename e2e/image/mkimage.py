#!/usr/bin/env python3
"""Writes a container image as a docker-archive tar, from a folder, without a Docker engine.

    mkimage.py --name REPO:TAG --root FOLDER --out FILE.tar [--user U] [--entrypoint JSON]
               [--cmd JSON] [--env K=V]... [--port N]... [--volume DIR]... [--workdir DIR]

One layer holds the folder; the archive is what `docker load` and `ctr images import` take. Times are
zero and entries sorted, so that one input always gives the same bytes. Owners: root, except the
folders given as --volume, which belong to the numeric --user, and modes are the folder's own.
"""
import argparse
import hashlib
import io
import json
import os
import tarfile


def entry(name, mode, owner=0):
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = mode, 0
    info.uid = info.gid = owner
    return info


def layer_of(root, volumes, owner):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder, folders, files in os.walk(root):
            folders.sort()
            base = os.path.relpath(folder, root)
            names = [n for n in folders if os.path.islink(os.path.join(folder, n))] + files
            if base != ".":
                info = entry(base, os.stat(folder).st_mode & 0o7777, owner if "/" + base in volumes else 0)
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            for name in sorted(names):
                path, inside = os.path.join(folder, name), os.path.normpath(os.path.join(base, name))
                if os.path.islink(path):
                    info = entry(inside, 0o777)
                    info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
                    tar.addfile(info)
                    continue
                info = entry(inside, os.stat(path).st_mode & 0o7777)
                info.size = os.path.getsize(path)
                with open(path, "rb") as content:
                    tar.addfile(info, content)
    return data.getvalue()


def config_of(args, diff_id):
    config = {"Env": args.env, "Entrypoint": json.loads(args.entrypoint)}
    if args.cmd:
        config["Cmd"] = json.loads(args.cmd)
    if args.user:
        config["User"] = args.user
    if args.workdir:
        config["WorkingDir"] = args.workdir
    if args.port:
        config["ExposedPorts"] = {f"{p}/tcp": {} for p in args.port}
    if args.volume:
        config["Volumes"] = {v: {} for v in args.volume}
    return {
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z", "config": config,
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + diff_id]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "fairlead"}],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--user", default="")
    parser.add_argument("--entrypoint", default="[]")
    parser.add_argument("--cmd", default="")
    parser.add_argument("--workdir", default="")
    for several in ("env", "port", "volume"):
        parser.add_argument("--" + several, action="append", default=[])
    args = parser.parse_args()

    owner = int(args.user.split(":")[0]) if args.user else 0
    layer = layer_of(args.root, args.volume, owner)
    layer_id = hashlib.sha256(layer).hexdigest()
    config = json.dumps(config_of(args, layer_id), sort_keys=True).encode()
    config_id = hashlib.sha256(config).hexdigest()
    manifest = json.dumps([{"Config": config_id + ".json", "RepoTags": [args.name],
                            "Layers": [layer_id + "/layer.tar"]}]).encode()
    with tarfile.open(args.out + ".new", "w") as out:
        for name, data in ((config_id + ".json", config), (layer_id + "/layer.tar", layer),
                           ("manifest.json", manifest)):
            info = entry(name, 0o644)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    os.rename(args.out + ".new", args.out)


if __name__ == "__main__":
    main()
