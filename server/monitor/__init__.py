"""How the system is: its status now; drift, calibration and quality of live versions come here too."""
