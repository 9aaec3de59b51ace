-- sqlite3: a small shop in memory. Rows from recursive queries, three indexes, joins, text functions, a big sort.
PRAGMA temp_store = memory;
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, city TEXT);
CREATE TABLE purchase (id INTEGER PRIMARY KEY, customer INTEGER, day INTEGER, amount INTEGER, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO customer SELECT i, printf('customer %05d', (i * 7919) % 20000), printf('city %d', (i * 31) % 97) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
INSERT INTO purchase SELECT i, 1 + (i * 48271) % 20000, (i * 16807) % 365, (i * 69621) % 1000,
    printf('order %d of day %d', i, (i * 16807) % 365) FROM n;
CREATE INDEX by_customer ON purchase (customer, day);
CREATE INDEX by_note ON purchase (note);
CREATE INDEX by_city ON customer (city, name);
SELECT c.city, count(*), sum(p.amount), max(p.note) FROM purchase p JOIN customer c ON c.id = p.customer
    GROUP BY c.city ORDER BY 3 DESC LIMIT 20;
SELECT day, count(DISTINCT customer), group_concat(substr(note, 7, 4), '') AS g FROM purchase WHERE day < 40
    GROUP BY day ORDER BY length(g), day LIMIT 5;
UPDATE purchase SET note = upper(note) || ' changed' WHERE amount % 7 = 3;
DELETE FROM purchase WHERE amount < 100;
SELECT count(*), sum(length(note)), min(note), max(note) FROM purchase;
SELECT name, total, rank() OVER (ORDER BY total DESC, name) FROM
    (SELECT c.name AS name, sum(p.amount) AS total FROM customer c JOIN purchase p ON p.customer = c.id GROUP BY c.id)
    ORDER BY 3 LIMIT 20;
SELECT count(*), sum(id) FROM (SELECT * FROM purchase ORDER BY note DESC, amount);
