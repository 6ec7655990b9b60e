"""Every Python process of ours, the command's own included, is the same whatever the environment says of Python.

No variable such as PYTHONPATH, PYTHONOPTIMIZE or PYTHONWARNINGS reaches it, no ``sitecustomize`` of a project's, and no
package or module of a project's takes the place of one of ours, of a dependency's or of the standard library's; text is
UTF-8. The variables stay in the environment as they are, since a user's own stage is to find them there. What can only be
found in a folder that PYTHONPATH names is found all the same, behind everything else (``docs/decisions/29``).

Until :func:`enter` has done its work this module imports nothing that a file of a project's could stand for.
"""

import os
import sys

from storefleet import run_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

OWN_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - see above
"""The folder from which our packages are imported."""


class OwnProcess:
    """How a module of ours is run: the words, and the whole environment."""

    __slots__ = ("command", "environment")

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.command = command
        self.environment = environment


def own_process(module: str, *arguments: str) -> OwnProcess:
    """``python -m MODULE ARGUMENT...`` for a module of ours."""
    return OwnProcess([*_python(), module, *arguments], {**os.environ, **path_variable()})


def path_variable() -> dict[str, str]:
    """What the environment of a process of ours must have beside whatever else it has."""
    return {run_module.PATH_VARIABLE: "\n".join(module_path(sys.path))}


def enter() -> None:
    """Make the command's own process one of ours: by its path alone, or by starting Python again in this process."""
    if sys.flags.isolated:
        return
    if sys.executable and _is_told_otherwise():
        environment = {**os.environ, **path_variable()}
        if sys.stdout is not None and sys.stdout.encoding:
            environment[run_module.ENCODING_VARIABLE] = sys.stdout.encoding
        os.execve(sys.executable, [*_python(), "storefleet", *sys.argv[1:]], environment)  # noqa: S606 - no shell is meant
    sys.path[:] = module_path(sys.path)


def module_path(path: "Sequence[str]") -> list[str]:
    """The same folders in a safe order: the standard library, what is installed, whatever stood before them.

    Where our own folder is one of those that stood before, as with ``pip install --target``, it comes right behind the
    standard library, with all others into which something was installed: who installs so has our dependencies there too.
    """
    folders = list(dict.fromkeys(_absolute(folder) for folder in path))
    library = os.path.dirname(os.__file__)  # noqa: PTH120
    if library not in folders:
        return folders
    begin = folders.index(library)
    if begin and folders[begin - 1].endswith(".zip"):
        begin -= 1
    end = next((at for at in range(begin, len(folders)) if not _is_standard(folders[at], library)), len(folders))
    before, standard, installed = folders[:begin], folders[begin:end], folders[end:]
    if OWN_FOLDER in before:
        before.remove(OWN_FOLDER)
        filled = [folder for folder in before if _was_installed_into(folder)]
        before = [folder for folder in before if folder not in filled]
        installed = [OWN_FOLDER, *filled, *installed]
    if OWN_FOLDER not in installed:
        installed.insert(0, OWN_FOLDER)
    return [*standard, *installed, *before]


def _is_standard(folder: str, library: str) -> bool:
    """Its zip file, its modules, its extensions."""
    return folder.endswith(".zip") or folder == library or folder.startswith(os.path.join(library, "lib-dynload"))  # noqa: PTH118


def _was_installed_into(folder: str) -> bool:
    """An installer leaves a record of each distribution; a project's own folder has none of that kind."""
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(folder))  # noqa: PTH208
    except OSError:
        return False


def _absolute(folder: str) -> str:
    try:
        return os.path.abspath(folder)  # noqa: PTH100
    except OSError:  # relative to a folder that is gone
        return folder


def _is_told_otherwise() -> bool:
    """Whether a variable is set that Python listens to (its own begin so; ``PYTHON_VERSION`` is an image's), or text is not
    UTF-8 here."""
    names = (name for name in os.environ if name.startswith("PYTHON") and not name.startswith("PYTHON_"))
    return any(names) or sys.getfilesystemencoding() != "utf-8"


def _python() -> list[str]:
    """Python alone, with what it writes beside modules as it was asked for."""
    words = [sys.executable, "-I", "-X", "utf8"]
    if sys.dont_write_bytecode:
        words.append("-B")
    if sys.pycache_prefix:
        words += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    return [*words, run_module.__file__]
