"""Download the third-party files of the explorer's page to where the wheel includes them.

    python scripts/vendor_explorer.py

Needs npm. Run it after changing a version below; installing Lookalike does not need it.
Each file begins with its name, version and license, and the full licenses are beside
the files.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

STATIC = Path(__file__).resolve().parent.parent / "client" / "lookalike" / "explorer" / "static" / "vendor"
BUNDLER = "esbuild@0.28.2"
# Package, version, and the exports that the page uses.
MODULES = {
    "twgl": ("twgl.js", "7.0.0", "createProgramInfo, createBufferInfoFromArrays, setBuffersAndAttributes, setUniforms, "
             "drawBufferInfo, setAttribInfoBufferFromArray"),
    "kdbush": ("kdbush", "4.1.0", "default"),
}  # fmt: skip
FONT = ("@fontsource-variable/inter", "5.3.0", "files/inter-latin-wght-normal.woff2")


def main() -> None:
    STATIC.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "package.json").write_text('{"private": true}')
        wanted = [f"{name}@{version}" for name, version, _ in [*MODULES.values(), FONT]]
        options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")
        run(work, "npm", "install", *options, *wanted, BUNDLER)
        for name, (package, version, exports) in MODULES.items():
            (work / f"{name}.js").write_text(f"export {{ {exports} }} from '{package}';\n")
            terms = json.loads((work / "node_modules" / package / "package.json").read_text())["license"]
            banner = f"/*! {package} {version}, {terms}: see {name}.LICENSE */"
            run(
                work, "node_modules/.bin/esbuild", f"{name}.js", "--bundle", "--format=esm", "--minify",
                "--target=es2022", "--legal-comments=none", f"--banner:js={banner}", f"--outfile={STATIC / name}.js",
            )  # fmt: skip
            shutil.copyfile(license_file(work, package), STATIC / f"{name}.LICENSE")
        shutil.copyfile(work / "node_modules" / FONT[0] / FONT[2], STATIC / "inter.woff2")
        shutil.copyfile(license_file(work, FONT[0]), STATIC / "inter.LICENSE")


def license_file(work: Path, package: str) -> Path:
    return next(
        each for each in sorted((work / "node_modules" / package).iterdir()) if each.name.upper().startswith("LICEN")
    )


def run(work: Path, *command: str) -> None:
    subprocess.run(command, cwd=work, check=True)


if __name__ == "__main__":
    main()
