import os
import sys

count, folder = int(sys.argv[1]), sys.argv[2]
for number in range(count):
    with open(os.path.join(folder, "%03d.pgm" % number), "w") as file:
        file.write("P2 1 1 9 %d" % (number % 10))
