"""Speed and memory of the card: `tlsnic bench`, or `make bench`.

`measure` times things fairly, `suite` names the benchmarks, `report` shows the rows; the other
modules each measure one part of the card. Figures are times, taken beside a baseline of the same run;
they inform a reader and decide over no test.
"""
