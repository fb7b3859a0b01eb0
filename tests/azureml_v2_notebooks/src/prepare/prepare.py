import argparse
import csv
import os

parser = argparse.ArgumentParser()
parser.add_argument("--sales")
parser.add_argument("--table")
parser.add_argument("--least", type=int, default=0)
args = parser.parse_args()
rows = []
for name in sorted(os.listdir(args.sales)):
    with open(os.path.join(args.sales, name)) as file:
        rows += [row for row in csv.DictReader(file) if int(row["price"]) >= args.least]
for row in rows:
    path = os.path.join(args.table, row["store"], row["brand"] + ".csv")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    is_new = not os.path.exists(path)
    with open(path, "a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["week", "price"])
        writer.writerow([row["week"], row["price"]])
with open(os.path.join(args.table, "MLTable"), "w") as file:
    file.write("""paths:
- pattern: ./*/*.csv
transformations:
- read_delimited: {delimiter: ',', header: all_files_same_headers}
- extract_columns_from_partition_format: /{store}/{brand}.csv
""")
print("prepared", len(rows), "rows")
