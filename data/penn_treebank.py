"""Penn Treebank in Mikolov's preparation: 10,000 words, numbers as N, lower case. It belongs to the LDC.

929,589, 73,760 and 82,430 words with the ends of lines, or 5.0, 0.39 and 0.44 million characters.
"""

import os

from data.download import DATA_VARIABLE, FileSet, data_folder, find
from data.texts import RawText
from utils.errors import UserError

__all__ = ["load", "parse"]

FILES = FileSet("ptb", (), (), {
    "ptb.train.txt": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "ptb.valid.txt": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "ptb.test.txt": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"}, variants=False)


def load(data_dir=None):
    """Penn Treebank's :class:`data.texts.RawText`, from the user's own files.

    Raises
    ------
    UserError
        if one of the files is missing or not the usual one.
    """
    contents = find(FILES, data_dir)
    if not contents:
        raise UserError(f"Penn Treebank belongs to the LDC and is not downloaded: put {', '.join(FILES.sha256)} "
                        f"(5,101,618, 399,782 and 449,945 bytes, from simple-examples/data) into "
                        f"{os.path.join(data_folder(data_dir), FILES.name)}, or name their folder with --data-dir or "
                        f"{DATA_VARIABLE}; or try without it: --dataset made-up")
    return RawText(*(parse(content, name) for name, content in contents.items()))


def parse(content, name):
    """The text of a file, without the spaces at both ends of its lines, as models of characters have it.

    Raises
    ------
    UserError
        if it is no UTF-8.
    """
    try:
        lines = content.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is no text in UTF-8 ({error})") from None
    return "".join(f"{line.strip(' ')}\n" for line in lines)
