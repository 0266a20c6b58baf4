"""`python -m tfpoison`."""

from tfpoison.launch import command

if __name__ == "__main__":
    command()
