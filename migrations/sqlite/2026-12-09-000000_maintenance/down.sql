DELETE FROM counters WHERE name = 'maintenance';
DROP TABLE maintenance_notices;
DROP TABLE maintenances;
