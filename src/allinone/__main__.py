"""`python -m allinone`, as torchrun starts it, and the command `allinone`."""

from allinone.processes import leave_current_folder

leave_current_folder()  # before anything is imported that it could replace

from allinone.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
