"""`python -m tlsnic.device`: the same as `tlsnic device`."""

import argparse
import sys

from tlsnic.device.main import add_arguments, main

parser = argparse.ArgumentParser(prog="tlsnic device")
add_arguments(parser)
sys.exit(main(parser.parse_args()))
