"""A part of a file, read as if it were a file."""

import io
import os


class Window(io.RawIOBase):
    """The `size` bytes of a file from `offset` on, as a raw stream."""

    def __init__(self, file: io.FileIO, offset: int, size: int):
        self.file = file
        self.offset = offset
        self.size = size
        self.at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        if at < 0:
            raise ValueError(f"a file has no byte {at}")
        self.at = at
        return at

    def readinto(self, buffer) -> int:
        wanted = memoryview(buffer).cast("B")[: max(0, self.size - self.at)]
        self.file.seek(self.offset + self.at)
        num_read = self.file.readinto(wanted)
        self.at += num_read
        return num_read

    def close(self) -> None:
        self.file.close()
        super().close()


def open_window(path: str, offset: int, size: int) -> io.BufferedReader:
    """Open these bytes of a file. OSError, with its name, if it is missing or ends before them."""
    try:
        file = io.FileIO(path)
    except OSError as error:
        raise OSError(f"packed in {path}: {error.strerror}") from error
    if (there := os.fstat(file.fileno()).st_size) < offset + size:
        file.close()
        raise OSError(f"packed in {path} up to byte {offset + size:,}, but that ends at {there:,}; get it again")
    return io.BufferedReader(Window(file, offset, size))
